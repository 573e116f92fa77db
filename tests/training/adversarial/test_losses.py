import numpy as np
import pytest
import torch
from monai.losses import PatchAdversarialLoss
from torch.nn import functional as F

from ctcycle.training.adversarial.losses import discriminator_loss, generator_loss

REAL = torch.tensor([[[[0.5, -2.0], [3.0, 1.0]]]], dtype=torch.float64)
FAKE = torch.tensor([[[[0.25, -1.5], [2.0, -40.0]]]], dtype=torch.float64)
FORMS = ("least_squares", "bce", "hinge", "wgan_gp")


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def expected(form: str) -> tuple[float, float]:
    """Losses of generator and discriminator, as the papers write them."""
    real, fake = REAL.numpy(), FAKE.numpy()
    if form == "least_squares":  # Mao et al. 2017, eq. 9
        return np.mean((fake - 1) ** 2), np.mean((real - 1) ** 2) / 2 + np.mean(fake**2) / 2
    if form == "bce":  # Goodfellow et al. 2014; the generator's is the not saturating one
        judged = -np.mean(np.log(sigmoid(real))) / 2 - np.mean(np.log(1 - sigmoid(fake))) / 2
        return -np.mean(np.log(sigmoid(fake))), judged
    if form == "wgan_gp":  # Gulrajani et al. 2017, eq. 3, without the penalty
        return -np.mean(fake), np.mean(fake) - np.mean(real)
    judged = np.mean(np.maximum(0, 1 - real)) / 2 + np.mean(np.maximum(0, 1 + fake)) / 2
    return -np.mean(fake), judged  # Lim & Ye 2017


@pytest.mark.parametrize("form", FORMS)
def test_closed_forms(form: str) -> None:
    gen, disc = expected(form)
    assert generator_loss(form, FAKE).item() == pytest.approx(gen)
    assert discriminator_loss(form, REAL, FAKE).item() == pytest.approx(disc)


def test_least_squares_is_what_monai_computes() -> None:
    reference = PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)
    gen = reference(FAKE.float(), target_is_real=True, for_discriminator=False)
    real, fake = (
        reference(logits.float(), target_is_real=is_real, for_discriminator=True)
        for logits, is_real in ((REAL, True), (FAKE, False))
    )
    assert generator_loss("least_squares", FAKE).item() == pytest.approx(gen.item())
    assert discriminator_loss("least_squares", REAL, FAKE).item() == pytest.approx((real + fake).item() / 2)


def test_cross_entropy_is_what_torch_computes() -> None:
    ones, zeros = torch.ones_like(REAL), torch.zeros_like(REAL)
    gen = F.binary_cross_entropy_with_logits(FAKE, ones)
    disc = (F.binary_cross_entropy_with_logits(REAL, ones) + F.binary_cross_entropy_with_logits(FAKE, zeros)) / 2
    assert generator_loss("bce", FAKE).item() == pytest.approx(gen.item())
    assert discriminator_loss("bce", REAL, FAKE).item() == pytest.approx(disc.item())


@pytest.mark.parametrize("form", FORMS)
def test_generators_go_where_the_discriminator_is_fooled(form: str) -> None:
    fake = torch.tensor([-3.0, 0.0], requires_grad=True)
    generator_loss(form, fake).backward()
    assert (fake.grad < 0).all()
    real, fake = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    discriminator_loss(form, real, fake + 0.5).backward()
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_extreme_logits_give_finite_losses(form: str) -> None:
    extreme = torch.tensor([-1e4, 1e4])
    assert generator_loss(form, extreme).isfinite()
    assert discriminator_loss(form, extreme, extreme).isfinite()


def test_unknown_forms_are_named() -> None:
    with pytest.raises(ValueError, match="'wgan' is not one of least_squares, bce, hinge, wgan_gp"):
        generator_loss("wgan", FAKE)
    with pytest.raises(ValueError, match="'wgan' is not one of"):
        discriminator_loss("wgan", REAL, FAKE)
