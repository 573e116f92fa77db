from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Engine
from loss_engine import engine_of

from ctcycle.runs.folder import RunFolder
from ctcycle.training.handlers.events import TrainingEvents
from ctcycle.training.handlers.loss_log import LossLog
from ctcycle.training.handlers.tracking import TrackingHandler


class Sent:
    """Takes what would go to MLflow."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "config.yaml").touch()
    return RunFolder(tmp_path)


def test_losses_are_written_in_the_networks_unit_and_l1_terms_in_hu_too(folder: RunFolder) -> None:
    engine, sent = engine_of([{"gen_cycle_full": 0.25, "disc_full": 0.5}] * 4), Sent()
    tracker: Any = sent
    TrackingHandler(folder, tracker, 1000.0, ("gen_cycle",)).attach(engine)
    LossLog(2).attach(engine)
    engine.run([0] * 4)
    values = {"train/gen_cycle_full": 0.25, "train/disc_full": 0.5, "train/gen_cycle_full_hu": 250.0}
    assert folder.read_metrics() == [{"iteration": 2, **values}, {"iteration": 4, **values}]
    speed = sent.rows.pop()
    assert sent.rows == [(2, values), (4, values)]
    assert speed[1].keys() == {"time/seconds_per_iteration"}
    assert speed[1]["time/seconds_per_iteration"] > 0


def test_scores_are_written_with_their_epoch(folder: RunFolder) -> None:
    engine, sent = Engine(lambda *_: None), Sent()
    tracker: Any = sent
    TrackingHandler(folder, tracker, 1000.0, ()).attach(engine)
    engine.state.iteration, engine.state.epoch, engine.state.scores = 30, 3, {"val/psnr": 31.5}
    engine.fire_event(TrainingEvents.VALIDATED)
    assert folder.read_metrics() == [{"iteration": 30, "epoch": 3, "val/psnr": 31.5}]
    assert sent.rows == [(30, {"val/psnr": 31.5})]


def test_an_hu_is_longer_than_nothing(folder: RunFolder) -> None:
    tracker: Any = Sent()
    with pytest.raises(ValueError, match="hu_per_unit is 0; it must be greater than 0"):
        TrackingHandler(folder, tracker, 0, ())
