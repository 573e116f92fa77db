"""One pass over the slices, results cached by what made them, and studies fed in order."""

import math

import numpy as np
import pytest

from ctcycle.evaluation.cache import ResultCache
from ctcycle.evaluation.comparison import OwnBench, Plan, SliceBench, compare
from ctcycle.evaluation.findings import Curve, Finding, Picture, StudyResult
from ctcycle.evaluation.methods.method import Method
from ctcycle.evaluation.pairs import HUPair, LowDoseSlice
from ctcycle.evaluation.scoring import ScoreOptions, evaluate

rng = np.random.default_rng(1)
FULL = rng.normal(40, 10, (4, 32, 32)).astype(np.float32)
LOW = FULL + rng.normal(0, 30, FULL.shape).astype(np.float32)


def slices():
    return [HUPair(f"P{n // 2}", "s", n, LOW[n], FULL[n]) for n in range(4)]


class Counted:
    """A filter that counts its calls."""

    def __init__(self, factor):
        self.factor, self.calls = np.float32(factor), 0

    def __call__(self, low):
        self.calls += 1
        return low * self.factor

    def method(self, name, digest):
        return Method(name, name, "run", digest, self)


class MeanStudy:
    """Keeps the mean of outputs, their order, and a picture of the last one."""

    def __init__(self, method):
        self.method, self.means, self.order, self.last = method, [], [], None

    def add(self, pair, output):
        self.order.append(pair.slice_index)
        self.means.append(float(output.mean()))
        self.last = output

    def result(self):
        assert self.order == sorted(self.order)
        name = self.method.name
        return StudyResult(
            (Finding(name, "pairs", "mean", float(np.mean(self.means))), Finding(name, "pairs", "none", None)),
            (Curve(name, "pairs", "means", "", tuple(map(float, self.order)), tuple(self.means)),),
            (Picture(name, "pairs", "last", "the last", {"output": self.last}),),
            ("a note",),
        )


BENCH = SliceBench("pairs", "v1", MeanStudy)


def plan(digest="slices", benches=(BENCH,), own=(), protocols=("hu2000", "kwon"), workers=2):
    return Plan(ScoreOptions(protocols), benches, own, digest, workers)


def equal(one, other):
    assert one.records == other.records
    assert one.studies == other.studies  # pictures are left out of the comparison
    for name, study in one.studies.items():
        for mine, theirs in zip(study.pictures, other.studies[name].pictures, strict=True):
            assert mine.images.keys() == theirs.images.keys()
            assert all(np.array_equal(mine.images[title], theirs.images[title]) for title in mine.images)


def test_one_more_method_computes_only_that_method(tmp_path):
    cache = ResultCache(tmp_path)
    first, second = Counted(0.5), Counted(0.7)
    before = compare(slices, [first.method("a", "1")], plan(), cache)
    after = compare(slices, [first.method("a", "1"), second.method("b", "2")], plan(), cache)
    assert (first.calls, second.calls) == (4, 4)
    equal(before["a"], after["a"])
    expected = evaluate(slices(), {"a": lambda low: low * np.float32(0.5)}, ("hu2000", "kwon"))
    assert tuple(after["a"].records) == expected.records
    assert after["b"].studies["pairs"].findings[0].value == pytest.approx(float((LOW * np.float32(0.7)).mean()))


@pytest.mark.parametrize(
    "change", ["weights", "slices", "bench", "protocols", "code"], ids=lambda what: f"another {what}"
)
def test_what_made_a_result_is_its_name(tmp_path, monkeypatch, change):
    cache, old, new = ResultCache(tmp_path), Counted(0.5), Counted(0.6)
    compare(slices, [old.method("a", "1")], plan(), cache)
    if change == "code":
        monkeypatch.setattr("ctcycle.evaluation.comparison.code_digest", lambda: "other")
    changed = {
        "slices": plan("others"),
        "bench": plan(benches=(SliceBench("pairs", "v2", MeanStudy),)),
        "protocols": plan(protocols=("hu2000",)),
    }.get(change, plan())
    found = compare(slices, [new.method("a", "2" if change == "weights" else "1")], changed, cache)
    assert new.calls == 4
    scored = old if change == "bench" else new
    assert tuple(found["a"].records) == evaluate(slices(), {"a": scored}, changed.options.protocols).records
    assert found["a"].studies["pairs"].findings[0].value == pytest.approx(
        float((LOW * np.float32(0.5 if change == "protocols" else 0.6)).mean())
    )


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other", "missing pictures"])
def test_damaged_files_are_computed_again(tmp_path, damage):
    cache, method = ResultCache(tmp_path), Counted(0.5)
    before = compare(slices, [method.method("a", "1")], plan(), cache)
    for file in list(tmp_path.iterdir()):
        content = bytearray(file.read_bytes())
        if damage == "truncated":
            file.write_bytes(content[: len(content) // 2])
        elif damage == "flipped":
            place = content.find(b'"psnr": ') + 8 if b'"psnr": ' in content else len(content) // 2
            content[place] = ord("7") if content[place] != ord("7") else ord("8")
            file.write_bytes(content)
        elif damage == "empty":
            file.write_bytes(b"")
        elif damage == "other":
            file.write_bytes(b'{"key": 3}')
        elif file.suffix == ".npz":
            file.unlink()
    after = compare(slices, [method.method("a", "1")], plan(), cache)
    assert method.calls == 8
    equal(before["a"], after["a"])
    compare(slices, [method.method("a", "1")], plan(), cache)
    assert method.calls == 8


def test_infinite_and_missing_figures_are_kept(tmp_path):
    cache = ResultCache(tmp_path)
    same = Method("same", "same", "run", "1", lambda low: low)
    pairs = [HUPair("P", "s", 0, FULL[0][:16, :16], FULL[0][:16, :16])]
    compare(lambda: pairs, [same], plan(benches=()), cache)
    again = compare(list, [same], plan(benches=()), cache)["same"].records[0]
    assert math.isinf(again.psnr)
    assert math.isnan(again.noise_hu)


def test_without_full_dose_only_the_studies_are_fed(tmp_path):
    low = [LowDoseSlice("P", "s", n, LOW[n]) for n in range(4)]
    found = compare(lambda: low, [Counted(1).method("a", "1")], plan(protocols=()), ResultCache(tmp_path))
    assert found["a"].records == []
    assert found["a"].studies["pairs"].findings[0].value == pytest.approx(float(LOW.mean()))


def test_a_bench_of_its_own_takes_methods_with_a_filter(tmp_path):
    calls = []

    def study(name, denoise):
        calls.append(name)
        return StudyResult((Finding(name, "physics", "x", float(denoise(LOW[0]).mean())),))

    outputs = Method("theirs", "theirs", "outputs", "2", None, lambda item: item.low_hu)
    methods = [Counted(0.5).method("a", "1"), outputs]
    bench = OwnBench("physics", "v1", study)
    for _ in range(2):
        found = compare(slices, methods, plan(own=(bench,)), ResultCache(tmp_path))
    assert calls == ["a"]
    assert found["a"].studies["physics"].findings[0].value == pytest.approx(float(LOW[0].mean() * 0.5), rel=1e-5)
    assert "physics" not in found["theirs"].studies
