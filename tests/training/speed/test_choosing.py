"""Format and precision of a new run are measured; the measurement changes nothing else, and a run keeps its choice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from random_states import random_states
from tiny_data import METHODS, TinyData, assert_same, assert_same_run, train, train_config

from ctcycle.errors import StoppedError
from ctcycle.runs.checkpoints import read_checkpoint, write_checkpoint
from ctcycle.training.building import Parts, build
from ctcycle.training.speed import choosing
from ctcycle.training.speed.choosing import Trial, Way, choose, explained, first_patches, measure

FIRST, LAST = Way("channels_first", "fp32"), Way("channels_last", "fp32")
HALF = Way("channels_last", "bf16")
BOTH = (LAST, FIRST)

pytestmark = pytest.mark.usefixtures("no_figures")


def trial(seconds: float, terms: list[float] | None = None) -> Trial:
    return Trial([seconds, 9.0, seconds], [1.0, 0.5] if terms is None else terms)


@pytest.fixture
def parts(tiny: TinyData, tmp_path: Path) -> Parts:
    return build(train_config(tiny, tmp_path / "parts", "cyclegan").config)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({LAST: trial(1.0), FIRST: trial(0.8)}, FIRST),
        ({LAST: trial(1.0), FIRST: trial(1.2)}, LAST),
        ({LAST: trial(1.0), FIRST: trial(0.97)}, LAST),
        ({LAST: trial(1.0), FIRST: trial(0.5, [1.0, 0.6])}, LAST),
        ({LAST: trial(1.0), FIRST: trial(0.5, [1.0, float("nan")])}, LAST),
        ({LAST: trial(1.0), FIRST: trial(0.9), HALF: trial(0.5, [1.04, 0.5])}, HALF),
        ({LAST: trial(1.0), HALF: trial(0.92)}, LAST),
        ({LAST: trial(1.0), HALF: trial(0.5, [1.2, 0.5])}, LAST),
    ],
)
def test_the_fastest_right_way_is_taken_if_it_is_clearly_faster(found: Mapping[Way, Trial], expected: Way) -> None:
    assert choose(found) == expected


def test_the_choice_is_explained_with_its_times() -> None:
    assert explained({LAST: trial(1.0), FIRST: trial(0.8)}, FIRST) == (
        "training with channels first in fp32, chosen by timing steps: channels last in fp32 1 s, "
        "channels first in fp32 0.8 s"
    )


@pytest.mark.parametrize("method", METHODS)
def test_both_formats_are_timed_and_agree(method: str, tiny: TinyData, tmp_path: Path) -> None:
    parts = build(train_config(tiny, tmp_path / "parts", method).config)  # type: ignore[arg-type]
    before, weights = random_states(), {k: v.clone() for k, v in parts.method.networks.state_dict().items()}
    found = measure(parts.settings, parts.device, first_patches(parts), BOTH)
    assert random_states() == before
    assert_same(dict(parts.method.networks.state_dict()), weights)
    assert all(len(one.seconds) == 6 and one.best > 0 for one in found.values())
    assert found[FIRST].terms == pytest.approx(found[LAST].terms, rel=1e-2, abs=1e-3)
    assert choosing._agrees(found[LAST].terms, found[FIRST].terms, 1e-2)


def test_a_few_patches_are_enough_on_a_cpu(tiny: TinyData, tmp_path: Path) -> None:
    config: Any = train_config(tiny, tmp_path / "run", "cyclegan", "training.batch_size=6").config
    patches = first_patches(build(config))
    assert {values.shape for values in patches.values()} == {(4, 1, 32, 32)}


def test_a_short_training_measures_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "measure", None)
    choosing.settle(parts)
    assert parts.layout.name == "channels_last"


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_a_given_format_is_not_measured(
    layout: str, tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "WORTHWHILE", 0)
    monkeypatch.setattr(choosing, "measure", None)
    run = train(tiny, tmp_path / "run", "supervised", f"training.layout={layout}")
    assert read_checkpoint(run / "checkpoints" / "last.pt")["layout"] == {"name": layout}
    assert layout.replace("_", " ") in (run / "log.txt").read_text()


def measuring(monkeypatch: pytest.MonkeyPatch, chosen: Way) -> list[Mapping[Way, Trial]]:
    """Let every new run measure, and then take ``chosen``."""
    asked: list[Mapping[Way, Trial]] = []
    monkeypatch.setattr(choosing, "WORTHWHILE", 0)
    monkeypatch.setattr(choosing, "choose", lambda found: (asked.append(found), chosen)[1])
    return asked


@pytest.mark.slow
def test_a_run_after_measuring_is_the_run_without(
    tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(tiny, tmp_path / "plain", "cyclegan", "training.layout=channels_first")
    asked = measuring(monkeypatch, FIRST)
    run = train(tiny, tmp_path / "run", "cyclegan")
    assert [set(found) for found in asked] == [set(BOTH)]
    assert_same_run(run, plain)
    assert (
        "training with channels first in fp32, chosen by timing steps: channels last in"
        in (run / "log.txt").read_text()
    )


@pytest.mark.slow
def test_a_resumed_run_keeps_the_choice_and_ends_bit_for_bit(
    tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring(monkeypatch, FIRST)
    whole = train(tiny, tmp_path / "whole", "cyclegan")
    with pytest.raises(StoppedError):
        train(tiny, tmp_path / "run", "cyclegan", "training.stop_after_epoch=1")
    asked = measuring(monkeypatch, LAST)
    assert_same_run(train(tiny, tmp_path / "run", "cyclegan"), whole)
    assert not asked


def test_a_checkpoint_without_a_format_was_trained_in_the_usual_one(
    tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tiny, tmp_path / "whole", "supervised")
    with pytest.raises(StoppedError):
        train(tiny, tmp_path / "run", "supervised", "training.stop_after_epoch=1")
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    write_checkpoint(path, {key: value for key, value in read_checkpoint(path).items() if key != "layout"})
    measuring(monkeypatch, FIRST)
    assert_same_run(train(tiny, tmp_path / "run", "supervised"), whole)


@pytest.mark.slow
def test_auto_tries_bf16_where_there_are_units(tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctcycle.training.speed import precision

    monkeypatch.setattr(precision, "computes_bf16", lambda _device: True)
    asked = measuring(monkeypatch, HALF)
    run = train(tiny, tmp_path / "run", "supervised", "training.precision=auto")
    assert [way.precision for way in asked[0]] == ["fp32", "fp32", "bf16", "bf16"]
    assert read_checkpoint(run / "checkpoints" / "last.pt")["precision"] == {"name": "bf16"}
    monkeypatch.setattr(precision, "computes_bf16", lambda _device: False)
    asked = measuring(monkeypatch, LAST)
    train(tiny, tmp_path / "other", "supervised", "training.precision=auto")
    assert [way.precision for way in asked[0]] == ["fp32", "fp32"]


def test_the_choice_becomes_a_parameter_in_mlflow(
    tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctcycle.runs.tracking import Tracker

    seen: list[Mapping[str, Any]] = []
    monkeypatch.setattr(Tracker, "start", lambda self: seen.append(self.params))
    train(tiny, tmp_path / "run", "supervised", "training.layout=channels_first")
    assert seen[0]["chosen.layout"] == "channels_first"
    assert seen[0]["chosen.precision"] == "fp32"
    assert torch.get_default_dtype() == torch.float32
