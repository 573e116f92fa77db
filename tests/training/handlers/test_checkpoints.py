from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine

from ctcycle.runs.checkpoints import CheckpointFolder, read_checkpoint
from ctcycle.training.handlers.checkpoints import BestWeights, Checkpoints, TrainingState
from ctcycle.training.handlers.events import TrainingEvents


class Memory:
    """Remembers one value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def state_dict(self) -> Any:
        return self.value

    def load_state_dict(self, state: Any) -> None:
        self.value = state


def checkpoints(engine: Engine, folder: Path, minutes: float) -> Checkpoints:
    state = TrainingState(engine, Memory({"networks": {"w": torch.ones(2)}}), {"best": Memory({"epoch": 3})})
    return Checkpoints(CheckpointFolder(folder), state, minutes, lambda: None)


def saved_iterations(folder: Path, minutes: float) -> list[int]:
    """The iterations of all checkpoints of two epochs of three."""
    engine, found = Engine(lambda *_: None), []
    handler = checkpoints(engine, folder, minutes)
    write = handler.folder.save_last
    handler.folder.save_last = lambda state: (found.append(state["iteration"]), write(state))  # type: ignore[method-assign, assignment, func-returns-value]
    handler.attach(engine)
    engine.run([0] * 3, max_epochs=2)
    return found


def test_each_epoch_is_saved_and_long_ones_by_the_clock(tmp_path: Path) -> None:
    assert saved_iterations(tmp_path / "slow", 1e-12) == [1, 2, 3, 4, 5, 6]
    assert saved_iterations(tmp_path / "fast", 10.0) == [3, 6]
    assert read_checkpoint(tmp_path / "fast" / "last.pt")["iteration"] == 6
    assert read_checkpoint(tmp_path / "fast" / "previous.pt")["iteration"] == 3


def test_an_iteration_that_is_saved_is_not_saved_again_when_the_run_stops(tmp_path: Path) -> None:
    engine = Engine(lambda *_: None)
    handler = checkpoints(engine, tmp_path, 10.0)
    handler.attach(engine)
    engine.run([0] * 3)
    handler.save_if_new()
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    engine.state.iteration += 1
    handler.save_if_new()
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "previous.pt"}


def test_where_nothing_may_be_written_nothing_is(tmp_path: Path) -> None:
    def refuse() -> None:
        raise FileNotFoundError

    engine = Engine(lambda *_: None)
    handler = Checkpoints(CheckpointFolder(tmp_path / "c"), TrainingState(engine, Memory({}), {}), 1.0, refuse)
    with pytest.raises(FileNotFoundError):
        handler.save()
    assert not (tmp_path / "c").exists()


def test_the_state_comes_back_to_its_owners() -> None:
    engine, method, loss = Engine(lambda *_: None), Memory({"networks": 1}), Memory("losses so far")
    engine.state.iteration = 7
    saved = TrainingState(engine, method, {"losses": loss}).state_dict()
    assert saved == {"iteration": 7, "networks": 1, "losses": "losses so far"}
    others = {"losses": Memory(None), "collapse": Memory("as it was")}  # which the first checkpoints lack
    TrainingState(engine, Memory(None), others).load_state_dict(saved)
    assert [part.value for part in others.values()] == ["losses so far", "as it was"]
    with pytest.raises(KeyError):
        TrainingState(engine, Memory(None), {"ema": Memory(None)}).load_state_dict(saved)


def test_the_best_weights_are_those_of_the_highest_psnr(tmp_path: Path) -> None:
    engine, weights = Engine(lambda *_: None), {"w": torch.zeros(1)}
    best = BestWeights(CheckpointFolder(tmp_path), lambda: weights)
    best.attach(engine)
    for epoch, psnr in enumerate([30.0, 32.0, 31.0], 1):
        weights = {"w": torch.full((1,), float(epoch))}
        engine.state.epoch, engine.state.scores = epoch, {"val/psnr": psnr}
        engine.fire_event(TrainingEvents.VALIDATED)
    kept = read_checkpoint(tmp_path / "best.pt")
    assert (float(kept["denoiser"]["w"]), kept["epoch"], kept["val/psnr"]) == (2.0, 2, 32.0)
    again = BestWeights(CheckpointFolder(tmp_path), lambda: weights)
    again.load_state_dict(best.state_dict())
    assert again.scores == best.scores == {"epoch": 2, "val/psnr": 32.0}


def test_an_interval_is_longer_than_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="minutes is 0; it must be greater than 0"):
        checkpoints(Engine(lambda *_: None), tmp_path, 0)
