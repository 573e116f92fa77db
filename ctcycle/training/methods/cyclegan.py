"""CycleGAN (Zhu et al. 2017): two generators, two discriminators, no pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.components import build_generator
from ctcycle.config.methods import CycleGANLoss, CycleGANSettings
from ctcycle.networks.discriminator import Discriminator
from ctcycle.training.adversarial.gain import with_gain
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.adversarial.losses import discriminator_loss, generator_loss
from ctcycle.training.adversarial.pasted_noise import PastedNoise, swap_term
from ctcycle.training.method import UnpairedMethod
from ctcycle.training.updates import Batch, Losses, Updates, detached, frozen


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
        "adversarial": ("adversarial", "disc"),
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
        low, full = batch["low_dose"], batch["full_dose"]
        nets, device = self.networks, low.device
        with frozen(nets["disc_full"], nets["disc_low"]), self.updates.forward_precision(device):
            fake_full, fake_low = nets["low2full"](low), self.degrade(full)
            terms = self._generator_terms(low, full, fake_full, fake_low)
            total = self._total(terms)
        self.updates.minimise(total, "gen")
        old_full = self.pool_full.exchange(fake_full.detach(), self.updates.rng)
        old_low = self.pool_low.exchange(fake_low.detach(), self.updates.rng)
        with self.updates.forward_precision(device):
            judged = {
                "disc_full": self._judge("disc_full", full, old_full),
                "disc_low": self._judge("disc_low", low, old_low),
            }
        self.updates.minimise(judged["disc_full"] + judged["disc_low"], "disc")
        return detached({**terms, **judged})

    def degrade(self, full: Tensor) -> Tensor:
        """Return fake low-dose patches (N, 1, H, W), drawing white noise if full2low has a noise channel."""
        net = self.networks["full2low"]
        if getattr(net, "in_channels", 1) == 1:
            return net(full)  # type: ignore[no-any-return]
        noise = torch.randn(full.shape, generator=self.updates.noise_rng, device=full.device, dtype=full.dtype)
        return net(torch.cat([full, noise], dim=1))  # type: ignore[no-any-return]

    def _generator_terms(self, low: Tensor, full: Tensor, fake_full: Tensor, fake_low: Tensor) -> Losses:
        nets, loss = self.networks, self.loss
        terms = {
            "gen_adversarial_full": generator_loss(loss.form, nets["disc_full"](fake_full)),
            "gen_adversarial_low": generator_loss(loss.form, nets["disc_low"](fake_low)),
            "gen_cycle_full": F.l1_loss(nets["low2full"](fake_low), full),
        }
        if loss.low_cycle:
            terms["gen_cycle_low"] = F.l1_loss(self.degrade(fake_full), low)
        if loss.identity:
            terms |= self._identity_terms(low, full, fake_full, fake_low)
        if loss.noise_swap:
            terms["gen_noise_swap"] = swap_term(nets, low, full, fake_full)
        return terms

    def _identity_terms(self, low: Tensor, full: Tensor, fake_full: Tensor, fake_low: Tensor) -> Losses:
        """Return L1 terms that keep each generator's target domain unchanged (in the report's formulas, its source)."""
        source = self.loss.identity_domain == "source"
        terms = {
            "gen_identity_full": F.l1_loss(*((fake_full, low) if source else (self.networks["low2full"](full), full)))
        }
        if self.loss.low_identity:
            terms["gen_identity_low"] = F.l1_loss(*((fake_low, full) if source else (self.degrade(low), low)))
        return terms

    def _total(self, terms: Losses) -> Tensor:
        weights = {
            "gen_adversarial": self.loss.adversarial * self.updates.adversarial,
            "gen_cycle": self.loss.cycle,
            "gen_identity": self.loss.identity,
            "gen_noise": self.loss.noise_swap,
        }
        return torch.stack([weights[name.rsplit("_", 1)[0]] * term for name, term in terms.items()]).sum()

    def _judge(self, name: str, real: Tensor, fake: Tensor) -> Tensor:
        return discriminator_loss(self.loss.form, self.networks[name](real), self.networks[name](fake))


METHOD = CycleGAN
