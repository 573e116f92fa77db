"""Noise extracted from one patient's low-dose patches and added to another patient's full-dose patches."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.networks.discriminator import HighPass
from ctcycle.runs import ranks


class PastedNoise(nn.Module):
    """Simulates low-dose patches from full-dose ones: ``f + k r`` with the zero-mean residual ``r = q - G(q)``.

    ``k = min(3, sqrt((E_q - E_f) / E_r))`` scales the added noise to the energy difference between the two domains.
    E are running means of the squared high-pass of low dose q, full dose f and residual r, saved with the weights. No
    pairs are needed. The method and its formula come from this project's own experiments.

    Args:
        sigma_px: standard deviation of the Gaussian that the high-pass subtracts, in pixels.
        momentum: of the running means.
    """

    energies: Tensor
    updates: Tensor
    LARGEST = 3.0

    def __init__(self, sigma_px: float = 3.0, momentum: float = 0.98) -> None:
        super().__init__()
        self.highpass = HighPass(sigma_px)
        self.momentum = momentum
        self.register_buffer("energies", torch.zeros(3))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, low: Tensor, full: Tensor, denoised: Tensor) -> Tensor:
        """Return ``full`` with simulated low-dose noise, without gradient, and update the running means.

        Args:
            low: (N, 1, H, W) low-dose patches.
            full: (N, 1, H, W) full-dose patches of other patients.
            denoised: the generator's output for ``low``.
        """
        residual = low - denoised
        residual = residual - residual.mean(dim=(-2, -1), keepdim=True)
        now = torch.stack([self.highpass(image).square().mean() for image in (low, full, residual)]).float()
        weight = torch.full_like(now, 1 - self.momentum).masked_fill_(self.updates == 0, 1.0)  # without a wait
        self.energies.lerp_(ranks.averaged(now), weight)
        self.updates += 1
        return full + self.factor() * residual

    def factor(self) -> Tensor:
        """Return k, the factor that scales the residual, in [0, 3]; a scalar."""
        low, full, residual = self.energies.unbind()
        ratio = (low - full).clamp(min=1e-8) / residual.clamp(min=1e-12)
        return ratio.sqrt().clamp(max=self.LARGEST)


def swap_term(networks: nn.ModuleDict, low: Tensor, full: Tensor, fake_full: Tensor) -> Tensor:
    """Return the L1 distance between full dose and its denoised version with another patient's noise; a scalar."""
    noisy = networks["swap"](low, full, fake_full.detach())
    return F.l1_loss(networks["low2full"](noisy), full)
