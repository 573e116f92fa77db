"""Noise taken from one patient's low dose and pasted on another patient's full dose."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.networks.discriminator import HighPass


class PastedNoise(nn.Module):
    """Simulates low dose of full-dose patches: ``f + k r`` with ``r = q - G(q)``, its mean taken off.

    ``k = min(3, sqrt((E_q - E_f) / E_r))`` gives the pasted noise the energy that the two domains differ by; E are
    running means of the squared high-pass of low dose q, full dose f and residual r, kept with the weights. No pair is
    needed. The idea, the formula and the evidence are our own experiments'.

    Args:
        sigma_px: of the Gaussian that the high-pass takes off.
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
        """Return simulated low dose of ``full``; no gradient flows through it, the running means are updated.

        Args:
            low: (N, 1, H, W) patches of some patients.
            full: (N, 1, H, W) patches of others.
            denoised: the generator's answer to ``low``.
        """
        residual = low - denoised
        residual = residual - residual.mean(dim=(-2, -1), keepdim=True)
        now = torch.stack([self.highpass(image).square().mean() for image in (low, full, residual)]).float()
        self.energies.lerp_(now, 1.0 if self.updates == 0 else 1 - self.momentum)
        self.updates += 1
        return full + self.factor() * residual

    def factor(self) -> Tensor:
        """k: what the residual is multiplied with, in [0, 3]; a scalar."""
        low, full, residual = self.energies.unbind()
        ratio = (low - full).clamp(min=1e-8) / residual.clamp(min=1e-12)
        return ratio.sqrt().clamp(max=self.LARGEST)


def swap_term(networks: nn.ModuleDict, low: Tensor, full: Tensor, fake_full: Tensor) -> Tensor:
    """Return the L1 between full dose and what the denoiser makes of it under another patient's noise; a scalar."""
    noisy = networks["swap"](low, full, fake_full.detach())
    return F.l1_loss(networks["low2full"](noisy), full)
