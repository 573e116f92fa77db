"""CycleGAN (Zhu et al. 2017): two generators, two discriminators, no pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.components import build_generator
from ctcycle.config.methods import CycleGANLoss, CycleGANSettings
from ctcycle.networks.discriminator import Discriminator
from ctcycle.runs import ranks
from ctcycle.training.adversarial.gain import with_gain
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.adversarial.losses import generator_loss
from ctcycle.training.adversarial.pasted_noise import PastedNoise, swap_term
from ctcycle.training.adversarial.penalty import judge_both, mixing_shares, total
from ctcycle.training.method import UnpairedMethod
from ctcycle.training.speed.accumulation import minimise_parts, without_gradients
from ctcycle.training.updates import Batch, Losses, Updates, frozen


@dataclass
class CycleGAN(UnpairedMethod):
    """CycleGAN (Zhu et al. 2017): updates both generators with one optimiser, then both discriminators with another.

    Attributes:
        networks: "low2full", "full2low", "disc_full", "disc_low", and "swap" if the noise-swap weight is not zero.
        updates: optimisers, and the values set by the schedule.
        loss: weights and switches of the loss terms.
        pool_full: pool of fake full-dose patches.
        pool_low: pool of fake low-dose patches.
    """

    loss: CycleGANLoss
    pool_full: ImagePool
    pool_low: ImagePool

    L1_TERMS: ClassVar = ("gen_cycle", "gen_identity", "gen_noise_swap")
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "adversarial": ("adversarial", "disc", "penalty"),
        "cycle, identity and noise swap": ("cycle", "identity", "swap"),
    }

    @staticmethod
    def make_networks(settings: CycleGANSettings, gain: float) -> dict[str, nn.Module]:
        """Return both generators, both discriminators, and the noise-swap module if the loss uses it."""
        spec = with_gain(settings.discriminator, gain)
        nets: dict[str, nn.Module] = {"low2full": build_generator(settings.generator)}
        nets["disc_full"] = Discriminator(spec)
        nets["full2low"] = build_generator(settings.generator, noise_channel=settings.noise_channel)
        nets["disc_low"] = Discriminator(spec)
        if settings.loss.noise_swap:
            nets["swap"] = PastedNoise(spec.sigma_px)
        return nets

    @classmethod
    def create(cls, settings: CycleGANSettings, networks: nn.ModuleDict, updates: Updates) -> "CycleGAN":
        """Return the method with empty image pools."""
        return cls(networks, updates, settings.loss, ImagePool(settings.image_pool), ImagePool(settings.image_pool))

    @property
    def pools(self) -> Mapping[str, ImagePool]:
        """The image pools, by name."""
        return {"pool_full": self.pool_full, "pool_low": self.pool_low}

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """Update the networks on ``batch`` and return the detached loss terms."""
        terms, fakes = minimise_parts(self, self._generators_loss, self._with_draws(batch), "gen")
        low, full, rng = batch["low_dose"], batch["full_dose"], self.updates.noise_rng
        judged = {"low_dose": low, "full_dose": full}
        judged["fake_full"] = self.pool_full.exchange(fakes["fake_full"], self.updates.rng)
        judged["fake_low"] = self.pool_low.exchange(fakes["fake_low"], self.updates.rng)
        if self.loss.penalty == "wgan_gp":
            judged |= {"share_full": mixing_shares(full, rng), "share_low": mixing_shares(low, rng)}
        return terms | minimise_parts(self, self._discriminators_loss, judged, "disc")[0]

    def _with_draws(self, batch: Batch) -> Batch:
        """Return the patches with everything that is drawn or measured on a whole batch."""
        low, full, loss = batch["low_dose"], batch["full_dose"], self.loss
        drawn = {"low_dose": low, "full_dose": full, **self._noise("noise_of_full", full)}
        if loss.low_cycle:
            drawn |= self._noise("noise_of_fake", full)
        if self._has_identity and loss.low_identity and loss.identity_domain == "target":
            drawn |= self._noise("noise_of_low", low)
        if loss.noise_swap and self.updates.parts > 1:
            with self.updates.forward_precision(low.device):
                denoised = without_gradients(
                    lambda part: self.networks["low2full"](part["low_dose"]), {"low_dose": low}, self.updates.parts
                )
            drawn["noisy_full"] = self.networks["swap"](low, full, denoised)
        return drawn

    def _noise(self, name: str, images: Tensor) -> dict[str, Tensor]:
        """Return white noise (N, 1, H, W) for full2low, if it has a noise channel."""
        if getattr(self.networks["full2low"], "in_channels", 1) == 1:
            return {}
        draw = partial(torch.randn, generator=self.updates.noise_rng, device=images.device, dtype=images.dtype)
        return {name: ranks.for_my_part(lambda count: draw((count, *images.shape[1:])), len(images))}

    def degrade(self, full: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return fake low-dose patches (N, 1, H, W); white noise for full2low's noise channel is drawn if not given."""
        drawn = self._noise("noise", full).get("noise") if noise is None else noise
        images = full if drawn is None else torch.cat([full, drawn], dim=1)
        return self.networks["full2low"](images)  # type: ignore[no-any-return]

    def _generators_loss(self, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        nets, low, full = self.networks, batch["low_dose"], batch["full_dose"]
        with frozen(nets["disc_full"], nets["disc_low"]), self.updates.forward_precision(low.device):
            fakes = {"fake_full": nets["low2full"](low), "fake_low": self.degrade(full, batch.get("noise_of_full"))}
            terms = self._generator_terms(batch, fakes["fake_full"], fakes["fake_low"])
            return self._total(terms), terms, fakes

    def _discriminators_loss(self, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        with self.updates.forward_precision(batch["low_dose"].device):
            judged = judge_both(self.networks, batch, self.loss, self.updates.noise_rng)
        return total(judged.values()), judged, {}

    def _generator_terms(self, batch: Batch, fake_full: Tensor, fake_low: Tensor) -> Losses:
        nets, loss, low, full = self.networks, self.loss, batch["low_dose"], batch["full_dose"]
        terms = {
            "gen_adversarial_full": generator_loss(loss.form, nets["disc_full"](fake_full)),
            "gen_adversarial_low": generator_loss(loss.form, nets["disc_low"](fake_low)),
            "gen_cycle_full": F.l1_loss(nets["low2full"](fake_low), full),
        }
        if loss.low_cycle:
            terms["gen_cycle_low"] = F.l1_loss(self.degrade(fake_full, batch.get("noise_of_fake")), low)
        if self._has_identity:
            terms |= self._identity_terms(batch, fake_full, fake_low)
        if "noisy_full" in batch:
            terms["gen_noise_swap"] = F.l1_loss(nets["low2full"](batch["noisy_full"]), full)
        elif loss.noise_swap:
            terms["gen_noise_swap"] = swap_term(nets, low, full, fake_full)
        return terms

    @property
    def _has_identity(self) -> bool:
        return bool(self.loss.identity) and self.loss.identity_domain != "none"

    def _identity_terms(self, batch: Batch, fake_full: Tensor, fake_low: Tensor) -> Losses:
        """Return L1 terms that keep each generator's target domain unchanged (in the report's formulas, its source)."""
        low, full, source = batch["low_dose"], batch["full_dose"], self.loss.identity_domain == "source"
        terms = {
            "gen_identity_full": F.l1_loss(*((fake_full, low) if source else (self.networks["low2full"](full), full)))
        }
        if self.loss.low_identity:
            same = (fake_low, full) if source else (self.degrade(low, batch.get("noise_of_low")), low)
            terms["gen_identity_low"] = F.l1_loss(*same)
        return terms

    def _total(self, terms: Losses) -> Tensor:
        weights = {
            "gen_adversarial": self.loss.adversarial * self.updates.adversarial,
            "gen_cycle": self.loss.cycle,
            "gen_identity": self.loss.identity,
            "gen_noise": self.loss.noise_swap,
        }
        return total(weights[name.rsplit("_", 1)[0]] * term for name, term in terms.items())


METHOD = CycleGAN
