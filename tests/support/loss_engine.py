"""An engine with given losses that trains nothing."""

import torch
from ignite.engine import Engine


def engine_of(terms: list[dict[str, float]], dtype: torch.dtype = torch.float32) -> Engine:
    """Return an engine whose iterations output these loss terms."""
    outputs = [{name: torch.tensor(value, dtype=dtype) for name, value in row.items()} for row in terms]
    return Engine(lambda engine, _: outputs[engine.state.iteration - 1])
