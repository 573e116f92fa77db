"""Calibrated simulated pairs: supervised training on full dose with simulated noise, calibrated without pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ignite.engine import Engine
from torch import Tensor, nn

from ctcycle.components import build_generator
from ctcycle.config.methods import CalibratedPairsSettings
from ctcycle.training.method import UnpairedMethod
from ctcycle.training.pair_loss import PairLoss, contrast_penalty
from ctcycle.training.simulated_noise.noise_filter import NoiseFilter, jittered
from ctcycle.training.speed.accumulation import minimise_parts
from ctcycle.training.updates import Batch, Losses, Updates


@dataclass
class CalibratedPairs(UnpairedMethod):
    """``L1(G(f + h ∗ z), f)`` with simulated noise z of the full-dose slice f and a calibrated kernel h; no adversary.

    With lesions, f has them. `PairLoss` says what may take the place of L1.

    Attributes:
        networks: "low2full", and "full2low", the fixed noise filter.
        updates: optimisers, and the values set by the schedule.
        level_jitter: share by which the noise level of a patch varies.
        loss: L1 or Huber, and the weight of the penalty on lost contrast.
    """

    level_jitter: float = 0.0
    loss: PairLoss = field(default_factory=PairLoss)

    L1_TERMS: ClassVar = ("gen_simulated",)
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "simulated pairs": ("simulated",),
        "contrast": ("contrast",),
    }
    OPTIMISED: ClassVar[Mapping[str, tuple[str, ...]]] = {"gen": ("low2full",)}

    @staticmethod
    def make_networks(settings: CalibratedPairsSettings, _gain: float) -> dict[str, nn.Module]:
        """Return the denoiser, the noise filter, and the penalty on lost contrast if there is one."""
        noise = NoiseFilter(settings.simulated_noise.filter_px, settings.data.hu_window)
        noise.requires_grad_(requires_grad=False)
        penalty = contrast_penalty(settings.loss)
        return {"low2full": build_generator(settings.generator), "full2low": noise, **penalty}

    @classmethod
    def create(cls, settings: CalibratedPairsSettings, networks: nn.ModuleDict, updates: Updates) -> "CalibratedPairs":
        """Return the method."""
        loss = PairLoss.of(settings.loss, settings.data.hu_window.hu_per_unit)
        return cls(networks, updates, settings.simulated_noise.level_jitter, loss)

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """Update the denoiser on ``batch``, whose low-dose patches are not used, and return the detached loss term."""
        noise = jittered(batch["noise"], self.level_jitter, self.updates.noise_rng)
        return minimise_parts(self, self._loss, {**batch, "noise": noise}, "gen")[0]

    def _loss(self, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        full = batch["full_dose"]
        with self.updates.forward_precision(full.device):
            output = self.networks["low2full"](self.networks["full2low"](full, batch["noise"]))
            terms = {"gen_simulated": self.loss.error(output, full)}
        return self.loss.with_contrast(terms, output, batch, self.networks), terms, {}


METHOD = CalibratedPairs
