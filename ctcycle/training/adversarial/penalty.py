"""Gradient penalties of discriminators, and the terms that discriminators minimise."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from ctcycle.config.methods import DiscriminatorLoss
from ctcycle.runs import ranks
from ctcycle.training.adversarial.losses import discriminator_loss

Critic = Callable[[Tensor], Tensor]
"""Images (N, 1, H, W) to logits (N, 1, h, w)."""


def judge(
    domain: str, critic: Critic, images: tuple[Tensor, Tensor], loss: DiscriminatorLoss, rng: torch.Generator | Tensor
) -> dict[str, Tensor]:
    """Return the discriminator's loss and, if ``loss`` asks for it, the weighted gradient penalty.

    Args:
        domain: "full" or "low", for the names ``disc_...`` and ``penalty_...``.
        critic: the discriminator.
        images: real and fake patches, (N, 1, H, W) each, without gradients.
        loss: form of the loss, kind and weight of the penalty.
        rng: generator on the device of the images, from which "wgan_gp" draws; or what `mixing_shares` has drawn.
    """
    real, fake = images
    terms = {f"disc_{domain}": discriminator_loss(loss.form, critic(real), critic(fake))}
    if loss.penalty == "r1":
        terms[f"penalty_{domain}"] = loss.penalty_weight * r1_penalty(critic, real)
    if loss.penalty == "wgan_gp":
        terms[f"penalty_{domain}"] = loss.penalty_weight * norm_penalty(critic, real, fake, rng)
    return terms


def judge_both(
    networks: nn.ModuleDict, batch: Mapping[str, Tensor], loss: DiscriminatorLoss, rng: torch.Generator
) -> dict[str, Tensor]:
    """Return the terms of both discriminators.

    Args:
        networks: "disc_full" and "disc_low".
        batch: "full_dose" and "fake_full", "low_dose" and "fake_low", (N, 1, H, W) each, without gradients; and what
            `mixing_shares` has drawn, if it has, as "share_full" and "share_low".
        loss: form of the loss, kind and weight of the penalty.
        rng: draws the shares that are not given.
    """
    terms: dict[str, Tensor] = {}
    for domain in ("full", "low"):
        images = batch[f"{domain}_dose"], batch[f"fake_{domain}"]
        terms |= judge(domain, networks[f"disc_{domain}"], images, loss, batch.get(f"share_{domain}", rng))
    return terms


def total(terms: Iterable[Tensor]) -> Tensor:
    """Return the sum of loss terms, a scalar."""
    return torch.stack(list(terms)).sum()


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """Return ``mean(|gradient|²) / 2`` at real images (Mescheder et al. 2018, eq. 9), a scalar with a graph."""
    return _gradients(critic, real).square().sum(1).mean() / 2


def norm_penalty(critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator | Tensor) -> Tensor:
    """Return ``mean((|gradient| - 1)²)`` at random mixtures of real and fake images (Gulrajani et al. 2017, eq. 3).

    The share of each real image is drawn from ``rng``, unless that holds the shares.
    """
    share = mixing_shares(real, rng) if isinstance(rng, torch.Generator) else rng
    mixed = share * real + (1 - share) * fake.to(real.dtype)
    norms: Tensor = torch.linalg.vector_norm(_gradients(critic, mixed), dim=1)
    return (norms - 1).square().mean()


def mixing_shares(real: Tensor, rng: torch.Generator) -> Tensor:
    """Return the share (N, 1, 1, 1) of each real image in a random mixture, uniform in [0, 1)."""
    return ranks.for_my_part(
        lambda count: torch.rand((count, 1, 1, 1), generator=rng, device=real.device, dtype=real.dtype), len(real)
    )


def _gradients(critic: Critic, images: Tensor) -> Tensor:
    """Return the gradients (N, pixels) of each image's mean logit, which is what the losses average."""
    points = images.detach().requires_grad_()
    with torch.autocast(points.device.type, enabled=False):
        answers = critic(points).flatten(1).mean(1)
        (slopes,) = torch.autograd.grad(answers.sum(), points, create_graph=True)
    return slopes.flatten(1)
