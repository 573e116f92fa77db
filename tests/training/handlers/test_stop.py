from pathlib import Path

import pytest
from ignite.engine import Engine

from ctcycle.errors import StoppedError
from ctcycle.runs.checkpoints import CheckpointFolder, read_checkpoint
from ctcycle.signals import StopRequest
from ctcycle.training.handlers.checkpoints import Checkpoints, TrainingState
from ctcycle.training.handlers.stop import Stop


class Nothing:
    """Has no state."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, _state: object) -> None:
        pass


def stopped(folder: Path, after_epoch: int | None = None, signal_at: int = 0) -> tuple[int, StoppedError | None]:
    """Runs two epochs of three; the iteration that was saved last, and what stopped the run."""
    request = StopRequest()

    def step(engine: Engine, _batch: object) -> None:
        if engine.state.iteration == signal_at:
            request.code = 143

    engine = Engine(step)
    engine.logger.disabled = True
    checkpoints = Checkpoints(CheckpointFolder(folder), TrainingState(engine, Nothing(), {}), 10.0, lambda: None)
    checkpoints.attach(engine)
    Stop(request, checkpoints, folder, after_epoch).attach(engine)
    error = None
    try:
        engine.run([0] * 3, max_epochs=2)
    except StoppedError as caught:
        error = caught
    return read_checkpoint(folder / "last.pt")["iteration"], error


@pytest.mark.parametrize("iteration", [1, 3, 5])
def test_a_signal_stops_after_its_iteration_with_a_checkpoint(iteration: int, tmp_path: Path) -> None:
    saved, error = stopped(tmp_path, signal_at=iteration)
    assert saved == iteration
    assert error is not None
    assert error.exit_code == 143
    assert f"stopped by a signal after iteration {iteration}" in str(error)


def test_the_settings_stop_after_an_epoch_but_not_after_the_last(tmp_path: Path) -> None:
    saved, error = stopped(tmp_path / "one", after_epoch=1)
    assert saved == 3
    assert error is not None
    assert error.exit_code == 0
    assert stopped(tmp_path / "two", after_epoch=2) == (6, None)
    assert stopped(tmp_path / "none") == (6, None)


def test_there_is_no_epoch_zero(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="after_epoch is 0; it must be at least 1"):
        stopped(tmp_path, after_epoch=0)
