"""Stops training when a loss is not finite."""

from collections.abc import Mapping

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ctcycle.errors import DivergedError


class FiniteCheck:
    """Raises DivergedError, naming the loss term, as soon as a loss term is not finite."""

    def attach(self, engine: Engine) -> None:
        """Check the output of every iteration of ``engine``, a mapping of loss terms."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Check the loss terms of the iteration that just ended.

        Raises:
            DivergedError: a term is not finite.
        """
        terms: Mapping[str, Tensor] = engine.state.output  # type: ignore[assignment]
        if not bool(torch.stack([term.isfinite() for term in terms.values()]).all()):
            bad = ", ".join(name for name, term in terms.items() if not bool(term.isfinite()))
            raise DivergedError(
                f"iteration {engine.state.iteration}: {bad} is not finite; lower optimizer.lr or set "
                "optimizer.clip_norm, and restart with overwrite=true (the last checkpoint is kept until then)"
            )
