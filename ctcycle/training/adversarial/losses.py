"""Adversarial losses on logits, as pure functions.

``form`` is "least_squares" (Mao et al. 2017), "bce" (Goodfellow et al. 2014, non-saturating) or "hinge" (Lim & Ye
2017).
"""

from torch import Tensor
from torch.nn import functional as F


def generator_loss(form: str, fake: Tensor) -> Tensor:
    """Return the generator's loss, a scalar: low when the discriminator takes ``fake`` (logits, any shape) for real."""
    if form == "least_squares":
        return (fake - 1).square().mean()
    if form == "bce":
        return F.softplus(-fake).mean()
    if form == "hinge":
        return -fake.mean()
    raise ValueError(f"adversarial form '{form}' is not one of least_squares, bce, hinge")


def discriminator_loss(form: str, real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's loss, a scalar: the average over ``real`` and ``fake`` (logits, any shape)."""
    if form == "least_squares":
        return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()
    if form == "bce":
        return 0.5 * F.softplus(-real).mean() + 0.5 * F.softplus(fake).mean()
    if form == "hinge":
        return 0.5 * F.relu(1 - real).mean() + 0.5 * F.relu(1 + fake).mean()
    raise ValueError(f"adversarial form '{form}' is not one of least_squares, bce, hinge")
