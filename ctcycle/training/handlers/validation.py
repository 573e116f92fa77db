"""Validation at the end of an epoch."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ignite.engine import Engine, Events

from ctcycle.training.handlers.events import TrainingEvents, register
from ctcycle.training.monitor.validation import ValidationPairs


class ValidationHandler:
    """Runs an evaluator after every ``every`` epochs and after the last one, and fires VALIDATED with the scores.

    Args:
        evaluator: from `ctcycle.training.monitor.validation.make_evaluator`.
        pairs: the validation pairs; if there are none, validation is skipped.
        every: epochs between two validations.
        interruptible: returns a context in which a signal may interrupt the evaluator.

    Attributes:
        due: whether the validation of a completed epoch has not finished yet.
    """

    def __init__(
        self,
        evaluator: Engine,
        pairs: ValidationPairs,
        every: int,
        interruptible: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1")
        self.evaluator, self.pairs, self.every, self.interruptible = evaluator, pairs, every, interruptible
        self.due = False

    def attach(self, engine: Engine) -> None:
        """Validate at the end of epochs of ``engine``."""
        register(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Validate if this is due after the epoch that just ended."""
        state = engine.state
        if not len(self.pairs) or not (state.epoch % self.every == 0 or state.epoch == state.max_epochs):
            return
        self.due = True
        with self.interruptible():
            self.evaluator.run(self.pairs)
        self.due = False
        metrics = self.evaluator.state.metrics["scores"]
        state.scores = {f"val/{name}": value for name, value in metrics.items()}  # type: ignore[attr-defined]
        state.denoiser = self.evaluator.state.denoiser  # type: ignore[attr-defined]
        engine.fire_event(TrainingEvents.VALIDATED)

    def state_dict(self) -> bool:
        """Return whether a validation is due."""
        return self.due

    def load_state_dict(self, state: Any) -> None:
        """Restore the state returned by `state_dict`."""
        self.due = bool(state)
