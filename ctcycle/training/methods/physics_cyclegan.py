"""CycleGAN with physics: full2low adds simulated projection noise through a filter that the adversary alone trains."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.components import build_generator
from ctcycle.config.methods import PhysicsCycleGANSettings
from ctcycle.networks.discriminator import Discriminator
from ctcycle.training.adversarial.gain import with_gain
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.adversarial.losses import generator_loss
from ctcycle.training.adversarial.penalty import judge_both, mixing_shares, total
from ctcycle.training.method import UnpairedMethod
from ctcycle.training.simulated_noise.noise_filter import AveragedFilter, NoiseFilter, jittered
from ctcycle.training.speed.accumulation import minimise_parts, without_gradients
from ctcycle.training.updates import Batch, Losses, Updates, frozen


@dataclass
class PhysicsCycleGAN(UnpairedMethod):
    """CycleGAN whose full2low is ``f + h ∗ z``: simulated noise z of the full-dose slice f, and a learnt kernel h.

    The denoiser learns from the cycle ``L1(G(F(f, z)), f)``, the identity, and a discriminator of full dose. The kernel
    learns from the discriminator of low dose alone: the gradient of the cycle would teach it to make no noise where
    noise is hard to remove. The cycle uses a moving average of the kernel.

    All terms but the cycle are evaluated every few iterations, with their weights multiplied by that number (lazy
    regularisation, Karras et al. 2020).

    Attributes:
        networks: "low2full", "full2low" (`NoiseFilter`), "average" (`AveragedFilter`), "disc_full", "disc_low".
        updates: optimisers, and the values set by the schedule.
        settings: weights of the loss terms and switches.
        old_fakes: the image pools, by name; none if the size is 0.
    """

    settings: PhysicsCycleGANSettings
    old_fakes: Mapping[str, ImagePool] = field(default_factory=dict)

    L1_TERMS: ClassVar = ("gen_cycle", "gen_identity")
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "adversarial": ("adversarial", "disc", "penalty"),
        "cycle and identity": ("cycle", "identity"),
        "noise filter": ("filter",),
    }
    OPTIMISED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "gen": ("low2full",),
        "noise": ("full2low",),
        "disc": ("disc_full", "disc_low"),
    }

    @staticmethod
    def make_networks(settings: PhysicsCycleGANSettings, gain: float) -> dict[str, nn.Module]:
        """Return the denoiser, the noise filter and its average, and both discriminators."""
        spec, physics = with_gain(settings.discriminator, gain), settings.simulated_noise
        noise = NoiseFilter(physics.filter_px, settings.data.hu_window)
        nets: dict[str, nn.Module] = {"low2full": build_generator(settings.generator)}
        nets |= {"full2low": noise, "average": AveragedFilter(noise, physics.average)}
        return nets | {"disc_full": Discriminator(spec), "disc_low": Discriminator(spec)}

    @classmethod
    def create(cls, settings: PhysicsCycleGANSettings, networks: nn.ModuleDict, updates: Updates) -> "PhysicsCycleGAN":
        """Return the method with empty image pools."""
        names = ("pool_full", "pool_low") if settings.image_pool else ()
        return cls(networks, updates, settings, {name: ImagePool(settings.image_pool) for name in names})

    @property
    def pools(self) -> Mapping[str, ImagePool]:
        """The image pools, by name."""
        return self.old_fakes

    def __call__(self, engine: Engine | None, batch: Batch) -> Losses:
        """Update the networks on ``batch``, which also has simulated "noise", and return the detached loss terms.

        Args:
            engine: gives the iteration; None evaluates all terms.
            batch: see `ctcycle.training.updates.Batch`.
        """
        every = 1 if engine is None else self.settings.adversary_every
        if engine is not None and engine.state.iteration % every:
            return self._update_denoiser(batch, 0)
        terms = self._update_filter(batch) | self._update_denoiser(batch, every)
        return terms | self._update_discriminators(batch)

    def _update_filter(self, batch: Batch) -> Losses:
        terms, _ = minimise_parts(self, self._filter_loss, _chosen(batch, "full_dose", "noise"), "noise")
        self._average.update(self._filter)
        return {
            "gen_adversarial_low": terms["gen_adversarial_low"],
            "filter_gain": self._average.mean.log_gain.exp(),
            "filter_distance": terms["filter_distance"],
        }

    def _filter_loss(self, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        nets, loss = self.networks, self.settings.loss
        with frozen(nets["disc_low"]), self.updates.forward_precision(batch["full_dose"].device):
            fake = nets["full2low"](batch["full_dose"], batch["noise"])
            fooling = generator_loss(loss.form, nets["disc_low"](fake))
        distance = self._filter.distance()
        weighted = fooling + self.settings.simulated_noise.anchor * distance
        return weighted, {"gen_adversarial_low": fooling, "filter_distance": distance}, {}

    def _update_denoiser(self, batch: Batch, every: int) -> Losses:
        """Update the denoiser on the cycle and, if ``every`` is not 0, on the others with ``every`` times weight."""
        noise = jittered(batch["noise"], self.settings.simulated_noise.level_jitter, self.updates.noise_rng)
        chosen = {**_chosen(batch, "low_dose", "full_dose"), "noise": noise}
        return minimise_parts(self, partial(self._denoiser_loss, every), chosen, "gen")[0]

    def _denoiser_loss(self, every: int, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        low, full, nets, loss = batch["low_dose"], batch["full_dose"], self.networks, self.settings.loss
        with frozen(nets["disc_full"]), self.updates.forward_precision(full.device):
            inputs = [self._average(full, batch["noise"]), *((low, full) if every else ())]
            cycle, *others = nets["low2full"](torch.cat(inputs)).chunk(len(inputs))
            terms = {"gen_cycle_full": F.l1_loss(cycle, full)}
            weighted = loss.cycle * terms["gen_cycle_full"]
            if every:
                terms["gen_adversarial_full"] = generator_loss(loss.form, nets["disc_full"](others[0]))
                terms["gen_identity_full"] = F.l1_loss(others[1], full)
                weighted = weighted + every * loss.identity * terms["gen_identity_full"]
                weight = every * loss.adversarial * self.updates.adversarial
                weighted = weighted + weight * terms["gen_adversarial_full"]
        return weighted, terms, {}

    def _update_discriminators(self, batch: Batch) -> Losses:
        low, full, nets, parts = batch["low_dose"], batch["full_dose"], self.networks, self.updates.parts
        with self.updates.forward_precision(full.device):
            fakes = {
                "pool_full": without_gradients(lambda part: nets["low2full"](part["low_dose"]), batch, parts),
                "pool_low": without_gradients(
                    lambda part: nets["full2low"](part["full_dose"], part["noise"]), batch, parts
                ),
            }
        fakes |= {name: pool.exchange(fakes[name], self.updates.rng) for name, pool in self.pools.items()}
        judged = {"low_dose": low, "full_dose": full, "fake_full": fakes["pool_full"], "fake_low": fakes["pool_low"]}
        if self.settings.loss.penalty == "wgan_gp":
            rng = self.updates.noise_rng
            judged |= {"share_full": mixing_shares(full, rng), "share_low": mixing_shares(low, rng)}
        return minimise_parts(self, self._discriminators_loss, judged, "disc")[0]

    def _discriminators_loss(self, batch: Batch) -> tuple[Tensor, Losses, Losses]:
        with self.updates.forward_precision(batch["low_dose"].device):
            judged = judge_both(self.networks, batch, self.settings.loss, self.updates.noise_rng)
        return total(judged.values()), judged, {}

    @property
    def _filter(self) -> NoiseFilter:
        return self.networks["full2low"]  # type: ignore[return-value]

    @property
    def _average(self) -> AveragedFilter:
        return self.networks["average"]  # type: ignore[return-value]


def _chosen(batch: Batch, *names: str) -> dict[str, Tensor]:
    return {name: batch[name] for name in names}


METHOD = PhysicsCycleGAN
