"""Means of the loss terms over a number of iterations."""

from collections.abc import Mapping

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ctcycle.training.handlers.events import TrainingEvents, register


class LossLog:
    """Averages each loss term over ``every`` iterations, then fires LOSSES_AVERAGED with the means.

    Args:
        every: number of iterations to average over.
    """

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1")
        self.every = every
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._count = 0

    def attach(self, engine: Engine) -> None:
        """Collect the losses of every iteration of ``engine``, whose output is a mapping of loss terms."""
        register(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Add the loss terms of the iteration that just ended; a term that it lacks keeps its mean over the others."""
        terms: Mapping[str, Tensor] = engine.state.output  # type: ignore[assignment]
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(term, dtype=torch.float32)) + term
            self._counts[name] = self._counts.get(name, 0) + 1
        self._count += 1
        if self._count == self.every:
            self.flush(engine)

    def flush(self, engine: Engine) -> None:
        """Fire the event for the iterations since the last event, if there are any."""
        if self._count:
            sums = torch.stack(list(self._sums.values())).tolist()  # synchronises with the device once
            means = {name: total / self._counts[name] for name, total in zip(self._sums, sums, strict=True)}
            engine.state.loss_means = means  # type: ignore[attr-defined]
            self._sums, self._counts, self._count = {}, {}, 0
            engine.fire_event(TrainingEvents.LOSSES_AVERAGED)

    def state_dict(self) -> dict[str, object]:
        """Return the running sums and the number of iterations in them."""
        return {"sums": dict(self._sums), "counts": dict(self._counts), "count": self._count}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore the state returned by `state_dict`."""
        self._sums, self._count = dict(state["sums"]), int(state["count"])  # type: ignore[call-overload]
        self._counts = dict(state.get("counts", dict.fromkeys(self._sums, self._count)))  # type: ignore[call-overload]
