"""Injects an action into the middle of a training run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from ignite.engine import Engine

from ctcycle.training.building import Parts


@contextmanager
def at_iteration(iteration: int, act: Callable[[dict[str, torch.Tensor]], object]) -> Iterator[None]:
    """Call ``act`` with the batch of one iteration, just before its update."""
    step = Parts.update

    def changed(parts: Parts, engine: Engine, batch: dict[str, torch.Tensor]) -> Any:
        if engine.state.iteration == iteration:
            act(batch)
        return step(parts, engine, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "update", changed)
        yield
