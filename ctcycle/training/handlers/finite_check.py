"""Stops a training whose loss is not finite."""

from collections.abc import Mapping

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ctcycle.errors import DivergedError


class FiniteCheck:
    """Raises DivergedError in the iteration in which a loss term is not finite, naming the term."""

    def attach(self, engine: Engine) -> None:
        """Check the output of every iteration of ``engine``, a mapping of loss terms."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Check the terms of the iteration that just ended."""
        terms: Mapping[str, Tensor] = engine.state.output  # type: ignore[assignment]
        if not bool(torch.stack([term.isfinite() for term in terms.values()]).all()):
            bad = ", ".join(name for name, term in terms.items() if not bool(term.isfinite()))
            raise DivergedError(
                f"iteration {engine.state.iteration}: {bad} is not finite; lower optimizer.lr or set "
                "optimizer.clip_norm, and start anew with overwrite=true; until then the last checkpoint stays"
            )
