"""Optimiser steps from loss terms, shared by all training methods."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ctcycle.runs import ranks

Batch = Mapping[str, Tensor]
"""``{"low_dose", "full_dose"}``, each (N, 1, H, W) in the network's range."""

Losses = dict[str, Tensor]
"""Loss terms as scalars, by the name they are logged under."""


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Compute no gradients for the parameters of ``nets`` in this context; gradients still flow through the nets."""
    for net in nets:
        net.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(requires_grad=True)


@dataclass
class Updates:
    """Optimisers, precision and random generators of a training method.

    Attributes:
        optimisers: "gen", and "disc" if there are discriminators.
        clip_norm: largest gradient norm; None disables clipping.
        autocast: dtype of forward passes; None means float32.
        scaler: scales losses so that small gradients survive in float16; None in other precisions.
        parts: number of parts that each batch is computed in, one after the other, to save memory.
        adversarial: factor of the adversarial weight, set by the schedule.
        rng: CPU generator for the image pools, re-seeded in every iteration.
        noise_rng: generator on the device for noise channels, re-seeded in every iteration.
    """

    optimisers: Mapping[str, torch.optim.Optimizer]
    clip_norm: float | None = None
    autocast: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None
    parts: int = 1
    adversarial: float = 1.0
    rng: torch.Generator = field(default_factory=torch.Generator)
    noise_rng: torch.Generator = field(default_factory=torch.Generator)

    def minimise(self, loss: Tensor, optimiser: str) -> None:
        """Take one step of ``optimiser`` on ``loss``; with several ranks, on the mean of their losses."""
        self.clear(optimiser)
        self.add_gradients(loss)
        self.step(optimiser)

    def clear(self, optimiser: str) -> None:
        """Forget the gradients of the parameters of ``optimiser``."""
        self.optimisers[optimiser].zero_grad(set_to_none=True)

    def add_gradients(self, loss: Tensor) -> None:
        """Add the gradients of ``loss`` to those of the parameters."""
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def step(self, optimiser: str) -> None:
        """Take one step of ``optimiser`` on the gradients so far; with several ranks, on their mean."""
        optim, scaler = self.optimisers[optimiser], self.scaler
        parameters = [parameter for group in optim.param_groups for parameter in group["params"]]
        ranks.average_gradients(parameters)
        if scaler is not None:
            scaler.unscale_(optim)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        if scaler is None:
            optim.step()
        else:  # no step if a gradient overflowed
            scaler.step(optim)
            scaler.update()

    def forward_precision(self, device: torch.device) -> torch.autocast:
        """Return the autocast context for forward passes."""
        return torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def reseed(self, seed: int) -> None:
        """Re-seed both generators with ``seed``."""
        self.rng.manual_seed(seed)
        self.noise_rng.manual_seed(seed)


def detached(terms: Losses) -> Losses:
    """Return the terms without their graphs."""
    return {name: term.detach() for name, term in terms.items()}
