"""Noise swap: one generator and one discriminator, trained without pairs.

The generator must also remove the residual of another patient's low dose, added to full dose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.components import build_generator
from ctcycle.config.methods import AdversarialLoss, NoiseSwapSettings
from ctcycle.networks.discriminator import Discriminator
from ctcycle.training.adversarial.gain import with_gain
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.adversarial.losses import generator_loss
from ctcycle.training.adversarial.pasted_noise import PastedNoise, swap_term
from ctcycle.training.adversarial.penalty import judge, mixing_shares, total
from ctcycle.training.method import UnpairedMethod
from ctcycle.training.speed.accumulation import minimise_parts, without_gradients
from ctcycle.training.updates import Batch, Losses, Updates, frozen


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
        "adversarial": ("adversarial", "disc", "penalty"),
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
        low, full, nets = batch["low_dose"], batch["full_dose"], self.networks
        drawn = {"low_dose": low, "full_dose": full}
        if self.updates.parts > 1:
            with self.updates.forward_precision(low.device):
                denoised = without_gradients(lambda part: nets["low2full"](part["low_dose"]), drawn, self.updates.parts)
            drawn["noisy_full"] = nets["swap"](low, full, denoised)
        terms, fakes = minimise_parts(self, self._generator_loss, drawn, "gen")
        judged = {"full_dose": full, "fake_full": self.pool_full.exchange(fakes["fake_full"], self.updates.rng)}
        if self.loss.penalty == "wgan_gp":
            judged["share_full"] = mixing_shares(full, self.updates.noise_rng)
        return terms | minimise_parts(self, self._discriminator_loss, judged, "disc")[0]

    def _generator_loss(self, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        nets, weights, low, full = self.networks, self.loss, batch["low_dose"], batch["full_dose"]
        with frozen(nets["disc_full"]), self.updates.forward_precision(low.device):
            fake_full = nets["low2full"](low)
            terms = {
                "gen_adversarial_full": generator_loss(weights.form, nets["disc_full"](fake_full)),
                "gen_identity_full": F.l1_loss(nets["low2full"](full), full),
            }
            if "noisy_full" in batch:
                terms["gen_noise_swap"] = F.l1_loss(nets["low2full"](batch["noisy_full"]), full)
            else:
                terms["gen_noise_swap"] = swap_term(nets, low, full, fake_full)
            weighted = weights.adversarial * self.updates.adversarial * terms["gen_adversarial_full"]
            weighted = weighted + weights.identity * terms["gen_identity_full"]
            weighted = weighted + weights.noise_swap * terms["gen_noise_swap"]
        return weighted, terms, {"fake_full": fake_full}

    def _discriminator_loss(self, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        images = batch["full_dose"], batch["fake_full"]
        with self.updates.forward_precision(images[0].device):
            share = batch.get("share_full", self.updates.noise_rng)
            judged = judge("full", self.networks["disc_full"], images, self.loss, share)
        return total(judged.values()), judged, {}


METHOD = NoiseSwap
