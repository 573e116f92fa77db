"""The opposite generator full2low with physics in it: it adds simulated noise through a small filter."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.ct.hounsfield import HUWindow
from ctcycle.runs import ranks


class NoiseFilter(nn.Module):
    """Makes low dose of full dose: ``clip(f + gain · (kernel ∗ noise))``.

    The kernel is ``start + peak · change`` with the peak of the start, so that one learning rate suits any noise.

    Args:
        side: side of the kernel, odd.
        window: HU window of the images; the sum is clipped to it, as low-dose images are.
    """

    start: Tensor

    def __init__(self, side: int, window: HUWindow) -> None:
        super().__init__()
        start = torch.zeros(1, 1, side, side)
        start[..., side // 2, side // 2] = 1.0
        self.register_buffer("start", start)
        self.log_gain = nn.Parameter(torch.zeros(()))
        self.change = nn.Parameter(torch.zeros(1, 1, side, side))
        limits = window.normalise(np.array([window.low, window.high], np.float32))
        self.low, self.high = float(limits[0]), float(limits[1]) if window.clip_upper else float("inf")

    @torch.no_grad()
    def start_from(self, kernel: NDArray[np.float32] | None, level: float = 1.0) -> None:
        """Start from a kernel (side, side), or from none, the noise as simulated, times ``level``."""
        if kernel is not None:
            self.start.copy_(torch.from_numpy(kernel)[None, None])
        self.start.mul_(level)

    def kernel(self) -> Tensor:
        """Return the current kernel (1, 1, side, side), gain included."""
        return self.log_gain.exp() * (self.start + self.start.abs().max() * self.change)

    def forward(self, full: Tensor, noise: Tensor) -> Tensor:
        """Return low-dose patches (N, 1, H, W) of full-dose patches and simulated noise, in the network's range."""
        half = self.start.shape[-1] // 2
        padded = F.pad(noise, (half, half, half, half), mode="reflect")
        with torch.autocast(noise.device.type, enabled=False):
            added = F.conv2d(padded.float(), self.kernel())
        return (full + added).clamp(self.low, self.high)

    def distance(self) -> Tensor:
        """Return the squared distance from the start, a scalar: of the logarithmic gain plus the relative kernel."""
        scale = self.start.square().sum() / self.start.abs().max().square()
        return self.log_gain.square() + self.change.square().sum() / scale


class AveragedFilter(nn.Module):
    """A moving average of a `NoiseFilter`, without gradients; its decay ramps up from 0.18.

    Args:
        source: the filter that is trained.
        decay: in [0, 1).
    """

    updates: Tensor

    def __init__(self, source: NoiseFilter, decay: float) -> None:
        super().__init__()
        self.mean, self.decay = copy.deepcopy(source), decay
        self.mean.requires_grad_(requires_grad=False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, source: NoiseFilter) -> None:
        """Add the current filter to the average."""
        count = self.updates.double()  # a number would make the CPU wait for the device
        weight = 1 - ((1 + count) / (10 + count)).clamp(max=self.decay)
        for mean, now in zip(self.mean.parameters(), source.parameters(), strict=True):
            mean.lerp_(now, weight.to(now.dtype))
        self.updates += 1

    @torch.no_grad()
    def forward(self, full: Tensor, noise: Tensor) -> Tensor:
        """Return low-dose patches made with the averaged filter."""
        made: Tensor = self.mean(full, noise)
        return made


def jittered(noise: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Return noise (N, 1, H, W) with the level of each patch varied uniformly by up to ``share``, up and down."""
    if not share:
        return noise
    level = ranks.for_my_part(
        lambda count: torch.rand((count, 1, 1, 1), generator=rng, device=noise.device, dtype=noise.dtype), len(noise)
    )
    return noise * (1 + share * (2 * level - 1))
