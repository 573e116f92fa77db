"""Calibrated simulated pairs: supervised training on full dose with simulated noise, calibrated without pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ignite.engine import Engine
from torch import nn
from torch.nn import functional as F

from ctcycle.components import build_generator
from ctcycle.config.methods import CalibratedPairsSettings
from ctcycle.training.method import UnpairedMethod
from ctcycle.training.simulated_noise.noise_filter import NoiseFilter, jittered
from ctcycle.training.updates import Batch, Losses, Updates, detached


@dataclass
class CalibratedPairs(UnpairedMethod):
    """``L1(G(f + h ∗ z), f)`` with simulated noise z of the full-dose slice f and a calibrated kernel h; no adversary.

    Attributes:
        networks: "low2full", and "full2low", the fixed noise filter.
        updates: optimisers, and the values set by the schedule.
        level_jitter: share by which the noise level of a patch varies.
    """

    level_jitter: float = 0.0

    L1_TERMS: ClassVar = ("gen_simulated",)
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {"simulated pairs": ("simulated",)}
    OPTIMISED: ClassVar[Mapping[str, tuple[str, ...]]] = {"gen": ("low2full",)}

    @staticmethod
    def make_networks(settings: CalibratedPairsSettings, _gain: float) -> dict[str, nn.Module]:
        """Return the denoiser and the noise filter."""
        noise = NoiseFilter(settings.simulated_noise.filter_px, settings.data.hu_window)
        noise.requires_grad_(requires_grad=False)
        return {"low2full": build_generator(settings.generator), "full2low": noise}

    @classmethod
    def create(cls, settings: CalibratedPairsSettings, networks: nn.ModuleDict, updates: Updates) -> "CalibratedPairs":
        """Return the method."""
        return cls(networks, updates, settings.simulated_noise.level_jitter)

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """Update the denoiser on ``batch``, whose low-dose patches are not used, and return the detached loss term."""
        full = batch["full_dose"]
        noise = jittered(batch["noise"], self.level_jitter, self.updates.noise_rng)
        with self.updates.forward_precision(full.device):
            noisy = self.networks["full2low"](full, noise)
            term = F.l1_loss(self.networks["low2full"](noisy), full)
        self.updates.minimise(term, "gen")
        return detached({"gen_simulated": term})


METHOD = CalibratedPairs
