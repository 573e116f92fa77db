import logging
from pathlib import Path
from typing import Any

import pytest
from tiny_data import TinyData, train_config

from ctcycle.training.building import Parts, build
from ctcycle.training.monitor import pace
from ctcycle.training.monitor.pace import Pace, few_iterations, opening


@pytest.fixture
def parts(tiny: TinyData, tmp_path: Path) -> Parts:
    return build(train_config(tiny, tmp_path / "run", "supervised").config)  # type: ignore[arg-type]


def test_the_opening_says_what_is_trained_on_what(parts: Parts) -> None:
    weights = sum(p.numel() for p in parts.method.networks.parameters()) / 1e6
    training = parts.settings.training
    found = opening(parts)
    assert found.startswith("supervised on cpu, threads: ")
    assert f"{training.precision}, channels last; {weights:.2f} million weights; " in found
    assert f"{training.epochs * len(parts.loader)} iterations with batches of {training.batch_size} patches" in found
    assert found.endswith(f"from {len(parts.low_dose)} low-dose and {len(parts.full_dose)} full-dose slices")


@pytest.mark.parametrize(("epochs", "length", "warned"), [(160, None, True), (160, 10, False), (100_000, None, False)])
def test_epochs_of_few_iterations_are_warned_of(
    tiny: TinyData, tmp_path: Path, epochs: int, length: int | None, warned: bool
) -> None:
    options = [f"training.epochs={epochs}", f"training.iterations_per_epoch={'null' if length is None else length}"]
    parts = build(train_config(tiny, tmp_path / "run", "supervised", *options).config)  # type: ignore[arg-type]
    found = few_iterations(parts)
    assert (found is not None) == warned
    if found is not None:
        total = epochs * len(parts.loader)
        assert found.startswith(f"{epochs} epochs of {len(parts.loader)} iterations")
        assert f"are only {total} iterations; set training.iterations_per_epoch" in found


class Clock:
    """A clock that advances by a second with every look."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


def run(parts: Parts, epochs: int, length: int, scores: dict[str, float] | None = None) -> None:
    follower = Pace(parts)
    follower.attach(parts.trainer)
    parts.trainer._process_function = lambda *_: {}
    if scores:
        from ignite.engine import Events

        from ctcycle.training.handlers.events import TrainingEvents

        @parts.trainer.on(Events.ITERATION_COMPLETED(every=length))
        def validate(engine: Any) -> None:
            if engine.state.epoch == 1:
                engine.state.scores = scores
                engine.fire_event(TrainingEvents.VALIDATED)

    parts.trainer.run(range(length), max_epochs=epochs, epoch_length=length)


def test_time_is_told_once_it_is_known_and_scores_only_in_their_epoch(
    parts: Parts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "time", Clock(100.0))
    with caplog.at_level(logging.INFO, "ctcycle"):
        run(parts, 2, 30, {"val/psnr": 41.234, "watch/removed": 0.5})
    said = [record.getMessage() for record in caplog.records if record.name == pace.__name__]
    # the clock was looked at after 5 and 25 iterations: 100 s for 20, of 60
    assert "5.00 s an iteration; about 02:55 left" in said
    assert any(line.startswith("epoch 1 of 2, 41.23 dB PSNR on validation slices, 50 % of the excess") for line in said)
    assert "epoch 2 of 2" in said


def test_a_cpu_that_would_need_days_is_told_of_the_small_config(
    parts: Parts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "time", Clock(1e5))
    with caplog.at_level(logging.INFO, "ctcycle"):
        run(parts, 1, 40)
    assert "left on a CPU; configs/experiments/small_supervised.yaml trains in minutes" in caplog.text
