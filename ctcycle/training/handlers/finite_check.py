"""Stops training when a loss is not finite."""

from collections.abc import Mapping

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ctcycle.errors import DivergedError


class FiniteCheck:
    """Raises DivergedError, naming the loss term, if a loss term is not finite.

    Args:
        every: number of iterations between checks, each of which covers all iterations since the one before. A check
            waits for the device, so that a GPU should not be checked in every iteration.
    """

    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1")
        self.every = every
        self._finite: dict[str, Tensor] = {}

    def attach(self, engine: Engine) -> None:
        """Check the output of every iteration of ``engine``, a mapping of loss terms."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Note which terms of the iteration that just ended are finite, and check them if it is time.

        Raises:
            DivergedError: a term was not finite.
        """
        terms: Mapping[str, Tensor] = engine.state.output  # type: ignore[assignment]
        for name, term in terms.items():
            finite = term.isfinite()
            self._finite[name] = self._finite[name] & finite if name in self._finite else finite
        if engine.state.iteration % self.every:
            return
        noted, self._finite = self._finite, {}
        if not bool(torch.stack(list(noted.values())).all()):
            bad = ", ".join(name for name, finite in noted.items() if not bool(finite))
            raise DivergedError(
                f"iteration {engine.state.iteration}: {bad} is not finite; lower optimizer.lr or set "
                "optimizer.clip_norm, and restart with overwrite=true (the last checkpoint is kept until then)"
            )
