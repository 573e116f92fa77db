"""Noise swap: one generator and one discriminator, trained without pairs.

The generator must also remove the residual of another patient's low dose, added to full dose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ignite.engine import Engine
from torch import nn
from torch.nn import functional as F

from ctcycle.components import build_generator
from ctcycle.config.methods import AdversarialLoss, NoiseSwapSettings
from ctcycle.networks.discriminator import Discriminator
from ctcycle.training.adversarial.gain import with_gain
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.adversarial.losses import discriminator_loss, generator_loss
from ctcycle.training.adversarial.pasted_noise import PastedNoise, swap_term
from ctcycle.training.method import UnpairedMethod
from ctcycle.training.updates import Batch, Losses, Updates, detached, frozen


@dataclass
class NoiseSwap(UnpairedMethod):
    """One generator and one discriminator with adversarial, identity and noise-swap losses (not a CycleGAN).

    Attributes:
        networks: "low2full", "disc_full", "swap".
        updates: optimisers, and the values set by the schedule.
        loss: weights of the loss terms.
        pool_full: pool of fake full-dose patches.
    """

    loss: AdversarialLoss
    pool_full: ImagePool

    L1_TERMS: ClassVar = ("gen_identity", "gen_noise_swap")
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "adversarial": ("adversarial", "disc"),
        "identity and noise swap": ("identity", "swap"),
    }

    @staticmethod
    def make_networks(settings: NoiseSwapSettings, gain: float) -> dict[str, nn.Module]:
        """Return the denoiser, its discriminator, and the noise-swap module if the loss uses it."""
        nets: dict[str, nn.Module] = {"low2full": build_generator(settings.generator)}
        nets["disc_full"] = Discriminator(with_gain(settings.discriminator, gain))
        if settings.loss.noise_swap:
            nets["swap"] = PastedNoise(settings.discriminator.sigma_px)
        return nets

    @classmethod
    def create(cls, settings: NoiseSwapSettings, networks: nn.ModuleDict, updates: Updates) -> "NoiseSwap":
        """Return the method with an empty image pool."""
        return cls(networks, updates, settings.loss, ImagePool(settings.image_pool))

    @property
    def pools(self) -> Mapping[str, ImagePool]:
        """The image pools, by name."""
        return {"pool_full": self.pool_full}

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """Update the networks on ``batch`` and return the detached loss terms."""
        low, full = batch["low_dose"], batch["full_dose"]
        nets, weights = self.networks, self.loss
        with frozen(nets["disc_full"]), self.updates.forward_precision(low.device):
            fake_full = nets["low2full"](low)
            terms = {
                "gen_adversarial_full": generator_loss(weights.form, nets["disc_full"](fake_full)),
                "gen_identity_full": F.l1_loss(nets["low2full"](full), full),
                "gen_noise_swap": swap_term(nets, low, full, fake_full),
            }
            total = weights.adversarial * self.updates.adversarial * terms["gen_adversarial_full"]
            total = total + weights.identity * terms["gen_identity_full"]
            total = total + weights.noise_swap * terms["gen_noise_swap"]
        self.updates.minimise(total, "gen")
        fake = self.pool_full.exchange(fake_full.detach(), self.updates.rng)
        with self.updates.forward_precision(low.device):
            judged = discriminator_loss(weights.form, nets["disc_full"](full), nets["disc_full"](fake))
        self.updates.minimise(judged, "disc")
        return detached({**terms, "disc_full": judged})


METHOD = NoiseSwap
