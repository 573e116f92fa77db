"""How loss terms become updates of networks, the same for all methods."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
"""``{"low_dose", "full_dose"}``, each (N, 1, H, W) in the network's range."""

Losses = dict[str, Tensor]
"""Loss terms as scalars, by the name that they are logged under."""


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """No gradients for the parameters of ``nets`` inside; gradients still flow through them."""
    for net in nets:
        net.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(requires_grad=True)


@dataclass
class Updates:
    """How losses become updates, shared by all steps.

    Attributes:
        optimisers: "gen", and "disc" where there are discriminators.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        autocast: dtype of the forward passes; None is float32.
        adversarial: factor of the adversarial weight, set by the schedule.
        rng: CPU generator for the image pools, re-seeded for every iteration.
        noise_rng: generator on the device for noise channels, re-seeded likewise.
    """

    optimisers: Mapping[str, torch.optim.Optimizer]
    clip_norm: float | None = None
    autocast: torch.dtype | None = None
    adversarial: float = 1.0
    rng: torch.Generator = field(default_factory=torch.Generator)
    noise_rng: torch.Generator = field(default_factory=torch.Generator)

    def minimise(self, loss: Tensor, optimiser: str) -> None:
        """One update of the parameters that ``optimiser`` holds."""
        optim = self.optimisers[optimiser]
        optim.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_([p for group in optim.param_groups for p in group["params"]], self.clip_norm)
        optim.step()

    def forward_precision(self, device: torch.device) -> torch.autocast:
        """The context that forward passes run in."""
        return torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def reseed(self, seed: int) -> None:
        """Makes what is drawn next a pure function of ``seed``."""
        self.rng.manual_seed(seed)
        self.noise_rng.manual_seed(seed)


def detached(terms: Losses) -> Losses:
    """Return the terms without their graphs."""
    return {name: term.detach() for name, term in terms.items()}
