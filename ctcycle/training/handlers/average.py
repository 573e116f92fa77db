"""The running average of a network's weights."""

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class WeightAverage:
    """An exponential moving average of a network's weights; its decay ramps up from 0.18 to ``decay``.

    Args:
        net: the network being trained.
        decay: in [0, 1); 0 disables averaging, and the result is the network itself.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; it must be at least 0 and less than 1")
        self.net, self.decay = net, decay
        self._mean = AveragedModel(net, multi_avg_fn=self._blend) if decay else None  # type: ignore[arg-type]

    @property
    def result(self) -> nn.Module:
        """The network with the averaged weights, used for validation and export."""
        mean: nn.Module = self.net if self._mean is None else self._mean.module
        return mean

    def attach(self, engine: Engine) -> None:
        """Update the average after every iteration of ``engine``."""
        if self._mean is not None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, _engine: Engine | None = None) -> None:
        """Update the average with the network's current weights."""
        if self._mean is not None:
            self._mean.update_parameters(self.net)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of updates; empty if averaging is disabled."""
        return {} if self._mean is None else self._mean.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        if self._mean is not None:
            self._mean.load_state_dict(state)

    @torch.no_grad()
    def _blend(self, means: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        now = min(self.decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(means, current, 1 - now)
