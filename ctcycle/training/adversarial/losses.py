"""Adversarial losses on logits, as pure functions.

``form`` is "least_squares" (Mao et al. 2017), "bce" (Goodfellow et al. 2014, non-saturating), "hinge" (Lim & Ye 2017)
or "wgan_gp" (Gulrajani et al. 2017), which also needs a gradient penalty.
"""

from torch import Tensor
from torch.nn import functional as F

FORMS = ("least_squares", "bce", "hinge", "wgan_gp")


def generator_loss(form: str, fake: Tensor) -> Tensor:
    """Return the generator's loss, a scalar: low when the discriminator takes ``fake`` (logits, any shape) for real."""
    if form == "least_squares":
        return (fake - 1).square().mean()
    if form == "bce":
        return F.softplus(-fake).mean()
    if form in {"hinge", "wgan_gp"}:
        return -fake.mean()
    raise ValueError(f"adversarial form '{form}' is not one of {', '.join(FORMS)}")


def discriminator_loss(form: str, real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's loss, a scalar: the average over ``real`` and ``fake`` (logits, any shape).

    With "wgan_gp" it is ``mean(fake) - mean(real)``, not halved, so that the paper's penalty weight of 10 applies: an
    estimate of the negative Wasserstein distance.
    """
    if form == "least_squares":
        return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()
    if form == "bce":
        return 0.5 * F.softplus(-real).mean() + 0.5 * F.softplus(fake).mean()
    if form == "hinge":
        return 0.5 * F.relu(1 - real).mean() + 0.5 * F.relu(1 + fake).mean()
    if form == "wgan_gp":
        return fake.mean() - real.mean()
    raise ValueError(f"adversarial form '{form}' is not one of {', '.join(FORMS)}")
