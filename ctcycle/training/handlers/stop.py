"""Saves a checkpoint and stops training when a signal or the config requests it."""

from pathlib import Path
from typing import NoReturn

from ignite.engine import Engine, Events

from ctcycle.errors import StoppedError
from ctcycle.runs import ranks
from ctcycle.signals import StopRequest
from ctcycle.training.handlers.checkpoints import Checkpoints
from ctcycle.training.handlers.events import ends_epoch


class Stop:
    """Saves the state and raises StoppedError after the iteration or epoch in which a stop was requested.

    Args:
        request: records stop signals.
        checkpoints: saves the state.
        run: the run folder, for the message.
        after_epoch: stop at the end of this epoch; None trains to the end.
    """

    def __init__(self, request: StopRequest, checkpoints: Checkpoints, run: Path, after_epoch: int | None) -> None:
        if after_epoch is not None and after_epoch < 1:
            raise ValueError(f"after_epoch is {after_epoch}; it must be at least 1")
        self.request, self.checkpoints, self.run, self.after_epoch = request, checkpoints, run, after_epoch

    def attach(self, engine: Engine) -> None:
        """Check for stop requests while ``engine`` runs; attach this after the checkpoints."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._inside_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)

    def now(self, engine: Engine) -> None:
        """Save the state and stop if a signal has requested it, on any rank.

        Raises:
            StoppedError: a signal was received.
        """
        if code := ranks.highest(self.request.code):
            ranks.only_first(self.checkpoints.save_if_new)
            self._stop(engine, code, "by a signal")

    def _inside_epoch(self, engine: Engine) -> None:
        if not ends_epoch(engine):  # at the end of an epoch, validate first
            self.now(engine)

    def _after_epoch(self, engine: Engine) -> None:
        self.now(engine)
        epoch = engine.state.epoch
        if epoch == self.after_epoch and epoch < (engine.state.max_epochs or 0):
            self._stop(engine, 0, "by training.stop_after_epoch")

    def _stop(self, engine: Engine, code: int, reason: str) -> NoReturn:
        iteration = engine.state.iteration
        raise StoppedError(f"{self.run}: stopped {reason} after iteration {iteration}; run it again to resume", code)
