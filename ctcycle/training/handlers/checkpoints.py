"""Checkpoints: the complete training state to resume from, and the best denoiser so far."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ignite.engine import Engine, Events
from torch import Tensor

from ctcycle.runs.checkpoints import CheckpointFolder, State
from ctcycle.training.handlers.events import TrainingEvents, ends_epoch, register


class Stateful(Protocol):
    """An object whose state is saved in checkpoints."""

    def state_dict(self) -> Any:
        """Return the state to save."""

    def load_state_dict(self, state: Any) -> object:
        """Restore the state returned by `state_dict`."""


class TrainingState:
    """The complete state of a training run, collected from its stateful parts.

    Args:
        engine: the trainer, for the iteration.
        method: the training method; its entries are saved at the top level.
        others: the other stateful parts, by the name of their entry.
    """

    def __init__(self, engine: Engine, method: Stateful, others: Mapping[str, Stateful]) -> None:
        self.engine, self.method, self.others = engine, method, others

    def state_dict(self) -> State:
        """Return the state as tensors, numbers and containers of them."""
        others = {name: part.state_dict() for name, part in self.others.items()}
        return {"iteration": self.engine.state.iteration, **self.method.state_dict(), **others}

    def load_state_dict(self, state: State) -> None:
        """Restore the state returned by `state_dict`; entries missing from older checkpoints are skipped.

        Raises:
            KeyError, RuntimeError, ValueError: the state does not fit these networks.
        """
        self.method.load_state_dict(state)
        for name, part in self.others.items():
            if name in state or name not in _LATER_ENTRIES:
                part.load_state_dict(state[name])


_LATER_ENTRIES = {"collapse", "validation_due", "data", "watch", "initial", "precision", "layout"}
"""Entries that older checkpoints do not have."""


class Checkpoints:
    """Saves the training state after each epoch, and every few minutes during long epochs.

    Args:
        folder: the run's checkpoint folder.
        state: the state to save.
        minutes: interval between checkpoints within an epoch.
        before: called before each save; raises if the folder must not be written to.
    """

    def __init__(
        self, folder: CheckpointFolder, state: TrainingState, minutes: float, before: Callable[[], None]
    ) -> None:
        if minutes <= 0:
            raise ValueError(f"minutes is {minutes}; it must be greater than 0")
        self.folder, self.state, self.minutes, self.before = folder, state, minutes, before
        self._saved_at = time.monotonic()
        self._saved_iteration = -1

    def attach(self, engine: Engine) -> None:
        """Save while ``engine`` runs; attach this after all handlers that change the state."""
        engine.add_event_handler(Events.STARTED, self._start_clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save_inside_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save_epoch)

    def save(self) -> None:
        """Save the state now."""
        self.before()
        self.folder.save_last(self.state.state_dict())
        self._saved_iteration, self._saved_at = self.state.engine.state.iteration, time.monotonic()

    def save_if_new(self) -> None:
        """Save the state unless it has already been saved in this iteration."""
        if self._saved_iteration != self.state.engine.state.iteration:
            self.save()

    def _start_clock(self, _engine: Engine) -> None:
        self._saved_at = time.monotonic()

    def _save_inside_epoch(self, engine: Engine) -> None:
        if not ends_epoch(engine) and time.monotonic() - self._saved_at >= 60 * self.minutes:
            self.save()

    def _save_epoch(self, _engine: Engine) -> None:
        self.save()


class BestWeights:
    """Saves the denoiser whenever its validation PSNR, or without pairs its penalty, is the best so far.

    Args:
        folder: the run's checkpoint folder.
        weights: returns the denoiser's current weights.
        paired: whether there are validation pairs; if not, the lowest ``watch/penalty`` is the best.

    Attributes:
        scores: scores and epoch of the best validation or measurement; empty before the first one.
    """

    def __init__(
        self, folder: CheckpointFolder, weights: Callable[[], Mapping[str, Tensor]], *, paired: bool = True
    ) -> None:
        self.folder, self.weights, self.paired = folder, weights, paired
        self.scores: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Check after every validation or measurement of ``engine``; attach this after those that log the scores."""
        register(engine)
        engine.add_event_handler(TrainingEvents.VALIDATED if self.paired else TrainingEvents.MEASURED, self)

    def __call__(self, engine: Engine) -> None:
        """Save the weights if the latest scores are the best."""
        scores: dict[str, float] = engine.state.scores  # type: ignore[attr-defined]
        if not self.scores or self._merit(scores) > self._merit(self.scores):
            self.scores = {"epoch": engine.state.epoch, **scores}
            self.save()

    def _merit(self, scores: Mapping[str, float]) -> float:
        return scores["val/psnr"] if self.paired else -scores["watch/penalty"]

    def save(self) -> None:
        """Save the current weights as the best."""
        self.folder.save_best(self.weights(), self.scores)

    def state_dict(self) -> dict[str, float]:
        """Return the best scores."""
        return self.scores

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore the state returned by `state_dict`."""
        self.scores = dict(state)
