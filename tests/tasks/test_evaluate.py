"""The evaluate task: its contract, and its figures against an independent reading of the same files."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tiny_data import TEST, TinyData

from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import BundleError, ConfigError, ManifestError
from ctcycle.evaluation.comparison import SliceBench
from ctcycle.evaluation.findings import Finding, StudyResult
from ctcycle.evaluation.methods.method import Method
from ctcycle.evaluation.pairs import LowDoseSlice
from ctcycle.runs.watch_record import WatchRecord
from ctcycle.tasks import evaluate as task
from ctcycle.tasks import running

PROTOCOLS = ["hu2000", "report2024", "abdomen"]
METHODS = ["input", "constant", "gaussian", "median", "bilateral", "tv", "nlm", "nlm_tuned", "supervised"]


def evaluate(data: TinyData, run: Path, out: Path, *overrides: str) -> Path:
    config = {"task": "evaluate", "out": str(out), "manifest": str(data.manifest), "device": "cpu"}
    path = out.with_suffix(".yaml")
    path.write_text(dump_yaml({**config, "methods": {"supervised": str(run)}}))
    running.run(load_config(path, overrides))
    return out


@pytest.fixture(scope="module")
def evaluated(tiny: TinyData, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluate(tiny, tiny_run, tmp_path_factory.mktemp("evaluated") / "out")


@pytest.fixture(scope="module")
def results(evaluated: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((evaluated / "results.json").read_text())
    return found


def read_by_pydicom(folder: Path) -> list[NDArray[np.float64]]:
    """The slices of a series in HU, in the order of their position, without any of ctcycle."""
    images = sorted((pydicom.dcmread(file) for file in folder.glob("*.dcm")), key=lambda i: i.ImagePositionPatient[2])
    return [image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept) for image in images]


def by_hand(low: NDArray[np.float64], full: NDArray[np.float64], protocol: str) -> tuple[float, float]:
    """PSNR and SSIM as method.md has them, by scikit-image."""
    if protocol == "report2024":
        top = full.clip(-1000).max() + 1000
        low, full = ((image.clip(-1000) + 1000) / top for image in (low, full))
        return peak_signal_noise_ratio(full, low, data_range=1), structural_similarity(full, low, data_range=2)
    low, full = low.clip(-1000, 1000), full.clip(-1000, 1000)
    ssim = structural_similarity(
        full, low, data_range=2000, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return peak_signal_noise_ratio(full, low, data_range=2000), ssim


@pytest.mark.parametrize("protocol", ["hu2000", "report2024"])
def test_the_input_row_is_what_scikit_image_finds(protocol: str, tiny: TinyData, results: dict[str, Any]) -> None:
    low, full = (read_by_pydicom(tiny.series / TEST / dose) for dose in ("low_dose", "full_dose"))
    assert len(low) == len(full) == 2
    psnr, ssim = np.mean([by_hand(*pair, protocol) for pair in zip(low, full, strict=True)], axis=0)
    (row,) = [row for row in results["rows"] if (row["method"], row["protocol"]) == ("input", protocol)]
    assert row["psnr"] == pytest.approx(psnr, abs=1e-6)
    assert row["ssim"] == pytest.approx(ssim, abs=1e-6)
    if protocol == "hu2000":
        errors = [a.clip(-1000, 1000) - b.clip(-1000, 1000) for a, b in zip(low, full, strict=True)]
        assert row["rmse_hu"] == pytest.approx(np.mean([np.sqrt(np.mean(e**2)) for e in errors]), abs=1e-6)
        assert row["mae_hu"] == pytest.approx(np.mean([np.abs(e).mean() for e in errors]), abs=1e-6)


def test_the_contract_of_results_json(results: dict[str, Any], tiny_run: Path) -> None:
    rows = results["rows"]
    assert [(row["method"], row["protocol"]) for row in rows] == [(m, p) for m in METHODS for p in PROTOCOLS]
    for row in rows:
        assert {"psnr", "ssim", "rmse_hu", "mae_hu", "slices", "patients"} <= row.keys()
        assert (row["slices"], row["patients"]) == (2, 1)
    provenance = results["provenance"]
    assert (provenance["split"], provenance["checkpoint"]) == ("test", None)
    assert provenance["runs"] == {"supervised": tiny_run.as_posix()}
    assert {"ctcycle", "torch", "git_commit"} <= provenance["versions"].keys()


def test_what_is_written(evaluated: Path) -> None:
    with (evaluated / "slices.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == len(METHODS) * len(PROTOCOLS) * 2
    assert {line["patient"] for line in lines} == {TEST}
    figures = {figure.name: figure.read_bytes() for figure in (evaluated / "figures").iterdir()}
    kinds = ("soft_tissue", "magnified", "differences", "lung", "bone")
    slices = {f"report_slice_{number}_{kind}.png" for number in (1, 2) for kind in kinds}
    report = {"report_patients_1.png", "report_patients_2.png", "report_training_1.png", *slices}
    assert report <= figures.keys()
    others = {name for name in figures.keys() - report if not name.startswith("report_worst_")}
    assert others == {"psnr_by_slice.png", "losses_supervised.png", "panels.png"}
    for content in figures.values():
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000
    page = (evaluated / "report.html").read_text()
    assert page.lower().lstrip().startswith("<!doctype html>")
    assert "supervised" in page
    text = (evaluated / "results.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {name}" for name in PROTOCOLS]
    assert "| supervised |" in text


def test_a_second_run_says_the_table_again(
    evaluated: Path, tiny: TinyData, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(tiny, tiny_run, evaluated)
    said = capsys.readouterr().out
    assert said.startswith(f"{evaluated}: already finished; set overwrite=true to rerun\nprotocol hu2000\n")
    assert f"-> {evaluated / 'results.json'}" in said
    assert "supervised" in said


def test_methods_are_compared_on_the_same_slices_whatever_the_split(
    tiny: TinyData, tiny_run: Path, tmp_path: Path
) -> None:
    options = ["filters=[input]", "protocols=[hu2000]", "panels=0"]
    out = evaluate(tiny, tiny_run, tmp_path / "out", "split=train", "body_mask=true", *options)
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [(row["method"], row["slices"], row["patients"]) for row in rows] == [
        ("input", 12, 6),
        ("supervised", 12, 6),
    ]
    assert not (out / "figures" / "panels.png").exists()
    assert "scored inside the body only" in (out / "results.md").read_text()


def test_the_best_checkpoint_or_the_last(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "checkpoints" / "last.pt").unlink()
    options = ["filters=[]", "protocols=[hu2000]", "panels=0"]
    evaluate(tiny, run, tmp_path / "out", *options)
    with pytest.raises(BundleError, match=r"last\.pt: checkpoint not found"):
        evaluate(tiny, run, tmp_path / "last", *options, "checkpoint=last")


def test_what_cannot_be_compared(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"no series of kernel 'D45f' with a known dose in split test; available kernels: soft"
    ):
        evaluate(tiny, tiny_run, tmp_path / "out", "kernel=D45f")
    with pytest.raises(BundleError, match="nothing: not a run folder"):
        evaluate(tiny, tmp_path / "nothing", tmp_path / "out")
    lines = tiny.manifest.read_text().replace(",series/", f",{tiny.series}/").splitlines(keepends=True)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("".join(line for line in lines if ",test," not in line or ",full_dose," not in line))
    with pytest.raises(ManifestError, match=r"manifest\.csv, split 'test': no patient has both doses"):
        evaluate(TinyData(tiny.series, manifest), tiny_run, tmp_path / "out", "benches=[pairs]")


def test_patients_that_a_run_was_trained_on_are_told_wherever_the_figures_are(
    tiny: TinyData, tiny_run: Path, tmp_path: Path, results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not [note for note in results["notes"] if "held out" in note]
    out = evaluate(tiny, tiny_run, tmp_path / "train", "split=train", "filters=[input]", "protocols=[hu2000]")
    (note,) = [note for note in json.loads((out / "results.json").read_text())["notes"] if "held out" in note]
    assert note.startswith("supervised: NOT held out: it was trained or validated on sim000, ")
    assert TEST not in note
    assert note in capsys.readouterr().out
    assert note in (out / "results.md").read_text()


def test_what_training_ended_with_is_in_the_report_and_a_fault_is_everywhere(
    tiny: TinyData, tiny_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    only = ("filters=[input]", "benches=[]")
    for number, faults in enumerate(([], ["the denoiser shifts air by -20.0 HU"])):
        record = WatchRecord(False, faults, {"removed": 0.5}, {})
        record.write(run)
        out = evaluate(tiny, run, tmp_path / f"out{number}", *only)
        assert f"supervised: {record.sentence}" in (out / "report.html").read_text()
        assert (f"supervised: {record.sentence}" in (out / "results.md").read_text()) == bool(faults)


def test_slices_that_are_no_pair_are_not_measured(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    changes = ("guard_threshold=0.9999", "filters=[input]", "protocols=[hu2000]", "panels=0")
    with pytest.raises(ManifestError, match=r"anatomy does not match .*minimum 0\.9999\); .*set guard=false"):
        evaluate(tiny, tiny_run, tmp_path / "guarded", *changes)
    assert (evaluate(tiny, tiny_run, tmp_path / "free", *changes, "guard=false") / "results.json").exists()


def test_a_run_cannot_take_the_name_of_a_filter(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'nlm' is the name of a classical filter; choose another name"):
        evaluate(tiny, tiny_run, tmp_path / "out", f"methods.nlm={tiny_run}")


def test_the_shipped_bundle_by_its_path_from_anywhere(
    tiny: TinyData, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["methods={shipped: bundles/ct_denoiser}", "split=val", "filters=[]", "guard=false", "panels=0"]
    out = evaluate(tiny, tiny_run, tmp_path / "out", *options)
    found = json.loads((out / "results.json").read_text())
    assert {row["method"] for row in found["rows"]} == {"shipped"}
    assert found["provenance"]["runs"] == {"shipped": "bundles/ct_denoiser"}


def test_figures_of_other_weights_are_never_shown_as_those_of_the_present(
    tiny: TinyData, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, options = tmp_path / "run", ["filters=[input]", "protocols=[hu2000]", "panels=0", f"cache={tmp_path / 'c'}"]
    shutil.copytree(tiny_run, run)
    out = evaluate(tiny, run, tmp_path / "out", *options)
    before = json.loads((out / "results.json").read_text())
    capsys.readouterr()
    evaluate(tiny, run, out, *options)
    assert "already finished" in capsys.readouterr().out
    state = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    other = _scaled(state)
    torch.save(other, run / "checkpoints" / "best.pt")
    evaluate(tiny, run, out, *options)
    assert "already finished" not in capsys.readouterr().out
    after = json.loads((out / "results.json").read_text())
    rows = [{row["method"]: row["rmse_hu"] for row in found["rows"]} for found in (before, after)]
    assert rows[0]["input"] == rows[1]["input"]
    assert rows[0]["supervised"] != rows[1]["supervised"]
    digests = [{m["name"]: m["digest"] for m in found["methods"]} for found in (before, after)]
    assert digests[0]["supervised"] != digests[1]["supervised"]


def _scaled(state: Any) -> Any:
    """The same checkpoint with all weights 1.5 times as large."""
    if isinstance(state, dict):
        return {key: _scaled(value) for key, value in state.items()}
    return state * 1.5 if isinstance(state, torch.Tensor) and state.is_floating_point() else state


def test_outputs_of_another_program_and_their_title(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny.series / TEST / "low_dose", tmp_path / "theirs" / TEST)
    methods = f"methods={{theirs: {{outputs: {tmp_path / 'theirs'}, title: Their denoiser}}}}"
    options = ["filters=[input, nlm]", "protocols=[hu2000]", "panels=0"]
    out = evaluate(tiny, tiny_run, tmp_path / "out", methods, *options)
    found = json.loads((out / "results.json").read_text())
    rows = {row["method"]: row for row in found["rows"]}
    assert rows["theirs"]["rmse_hu"] == rows["input"]["rmse_hu"]
    assert ("theirs", "Their denoiser", "outputs") in {(m["name"], m["title"], m["kind"]) for m in found["methods"]}
    assert [(c["method"], c["filter"], c["p_value"]) for c in found["contrasts"]] == [("theirs", "nlm", None)] * 2
    assert found["schema"] == 2
    assert (out / "measures.csv").read_text().startswith("method,bench,measure,value,")


class _Counting:
    """A bench that needs no full dose."""

    def __init__(self, method: Method) -> None:
        self.name, self.slices = method.name, 0

    def add(self, _item: LowDoseSlice, _output: NDArray[np.float32]) -> None:
        self.slices += 1

    def result(self) -> StudyResult:
        return StudyResult((Finding(self.name, "insertion", "slices", self.slices),))


@pytest.mark.parametrize("full_dose", ["none", "of others"])
def test_without_pairs_low_dose_is_measured_alone(
    tiny: TinyData, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_dose: str
) -> None:
    lines = tiny.manifest.read_text().replace(",series/", f",{tiny.series}/").splitlines(keepends=True)
    low = [line for line in lines if ",test," not in line or ",full_dose," not in line]
    others = [line.replace(f",{TEST},", ",somebody,", 1) for line in lines if line not in low]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("".join(low if full_dose == "none" else [*low, *others]))
    monkeypatch.setitem(task.SLICE_BENCHES, "insertion", lambda _c: SliceBench("insertion", "1", _Counting))
    data = TinyData(tiny.series, manifest)
    out = evaluate(data, tiny_run, tmp_path / "out", "filters=[input, nlm_tuned]", "panels=0", "benches=[insertion]")
    found = json.loads((out / "results.json").read_text())
    assert (found["rows"], found["contrasts"]) == ([], [])
    assert {(f["method"], f["value"]) for f in found["findings"]} == {
        (name, 2) for name in ("input", "nlm_tuned", "supervised")
    }
    assert len((out / "slices.csv").read_text().splitlines()) == 1
