"""Update functions: one training iteration each, ``(engine, batch) -> losses``.

They are callable by hand with None for the engine. A batch is ``{"low_dose", "full_dose"}``, (N, 1, H, W) in the
network's range. Every step updates its networks in place and returns its loss terms as detached scalars, named as they
are logged. Names of networks: ``low2full`` is the denoiser, ``full2low`` its way back; ``disc_full`` and ``disc_low``
judge the domain they are named after.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F

from ctcycle.config.methods import AdversarialLoss, CycleGANLoss
from ctcycle.training.image_pool import ImagePool
from ctcycle.training.losses import discriminator_loss, generator_loss

Batch = Mapping[str, Tensor]
Losses = dict[str, Tensor]


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """No gradients for the parameters of ``nets`` inside; gradients still flow through them."""
    for net in nets:
        net.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(requires_grad=True)


@dataclass
class Updates:
    """How losses become updates, shared by all steps.

    Attributes:
        optimisers: "gen", and "disc" where there are discriminators.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        autocast: dtype of the forward passes; None is float32.
        adversarial: factor of the adversarial weight, set by the schedule.
        rng: CPU generator for the image pools, re-seeded for every iteration.
        noise_rng: generator on the device for noise channels, re-seeded likewise.
    """

    optimisers: Mapping[str, torch.optim.Optimizer]
    clip_norm: float | None = None
    autocast: torch.dtype | None = None
    adversarial: float = 1.0
    rng: torch.Generator = field(default_factory=torch.Generator)
    noise_rng: torch.Generator = field(default_factory=torch.Generator)

    def minimise(self, loss: Tensor, optimiser: str) -> None:
        """One update of the parameters that ``optimiser`` holds."""
        optim = self.optimisers[optimiser]
        optim.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_([p for group in optim.param_groups for p in group["params"]], self.clip_norm)
        optim.step()

    def forward_precision(self, device: torch.device) -> torch.autocast:
        """The context that forward passes run in."""
        return torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def reseed(self, seed: int) -> None:
        """Makes what is drawn next a pure function of ``seed``."""
        self.rng.manual_seed(seed)
        self.noise_rng.manual_seed(seed)


def _detached(terms: Losses) -> Losses:
    return {name: term.detach() for name, term in terms.items()}


@dataclass
class SupervisedStep:
    """``L1(G(low), full)`` on true pairs, or Huber's loss (1964), divided by its threshold so that it nears L1.

    Attributes:
        networks: "low2full".
        updates: how losses become updates.
        quadratic_below: differences below this count squared, in the network's unit; 0 is L1.
    """

    networks: nn.ModuleDict
    updates: Updates
    quadratic_below: float = 0.0

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """One update on ``batch``; gives its loss terms."""
        low, full = batch["low_dose"], batch["full_dose"]
        with self.updates.forward_precision(low.device):
            term = F.smooth_l1_loss(self.networks["low2full"](low), full, beta=self.quadratic_below)
        self.updates.minimise(term, "gen")
        return _detached({"gen_supervised": term})


@dataclass
class NoiseSwapStep:
    """One generator, one discriminator: adversarial, identity and noise-swap terms (not a CycleGAN).

    Attributes:
        networks: "low2full", "disc_full", "swap".
        updates: how losses become updates.
        loss: weights.
        pool_full: history of fakes for the discriminator.
    """

    networks: nn.ModuleDict
    updates: Updates
    loss: AdversarialLoss
    pool_full: ImagePool

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """One update on ``batch``; gives its loss terms."""
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
        return _detached({**terms, "disc_full": judged})


def swap_term(networks: nn.ModuleDict, low: Tensor, full: Tensor, fake_full: Tensor) -> Tensor:
    """L1 between full dose and what the denoiser makes of it under another patient's low-dose noise; a scalar."""
    noisy = networks["swap"](low, full, fake_full.detach())
    return F.l1_loss(networks["low2full"](noisy), full)


@dataclass
class CycleGANStep:
    """CycleGAN (Zhu et al. 2017): both generators with one optimiser, then both discriminators with another.

    Attributes:
        networks: "low2full", "full2low", "disc_full", "disc_low", and "swap" where the noise-swap weight is not zero.
        updates: how losses become updates.
        loss: weights and switches.
        pool_full: history of fake full-dose patches.
        pool_low: history of fake low-dose patches.
    """

    networks: nn.ModuleDict
    updates: Updates
    loss: CycleGANLoss
    pool_full: ImagePool
    pool_low: ImagePool

    def __call__(self, _engine: Engine | None, batch: Batch) -> Losses:
        """One update on ``batch``; gives its loss terms."""
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
        return _detached({**terms, **judged})

    def degrade(self, full: Tensor) -> Tensor:
        """Fake low dose (N, 1, H, W) of full dose, with new white noise where full2low has a channel for it."""
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
        """Each generator leaves its target domain alone (or, the printed formulas' reading, its source domain)."""
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
