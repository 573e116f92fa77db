"""Adversarial losses on logits: pure functions; every other term of the methods is a mean absolute error.

``form`` is "least_squares" (Mao et al. 2017), "bce" (Goodfellow et al. 2014, not saturating) or "hinge" (Lim & Ye
2017).
"""

from torch import Tensor
from torch.nn import functional as F


def generator_loss(form: str, fake: Tensor) -> Tensor:
    """How far the discriminator is from taking ``fake`` (logits, any shape) for real; the mean, a scalar."""
    if form == "least_squares":
        return (fake - 1).square().mean()
    if form == "bce":
        return F.softplus(-fake).mean()
    if form == "hinge":
        return -fake.mean()
    raise ValueError(f"adversarial form '{form}' is not one of least_squares, bce, hinge")


def discriminator_loss(form: str, real: Tensor, fake: Tensor) -> Tensor:
    """How far the discriminator is from telling ``real`` from ``fake`` (logits, any shape); halved once, a scalar."""
    if form == "least_squares":
        return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()
    if form == "bce":
        return 0.5 * F.softplus(-real).mean() + 0.5 * F.softplus(fake).mean()
    if form == "hinge":
        return 0.5 * F.relu(1 - real).mean() + 0.5 * F.relu(1 + fake).mean()
    raise ValueError(f"adversarial form '{form}' is not one of least_squares, bce, hinge")
