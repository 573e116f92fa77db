"""Gradient penalties against closed forms, finite differences and torch's own Jacobian."""

import math

import pytest
import torch
from torch import Tensor

from ctcycle.config.methods import DiscriminatorLoss
from ctcycle.networks.discriminator import Discriminator
from ctcycle.networks.specs import DiscriminatorSpec
from ctcycle.training.adversarial.losses import discriminator_loss
from ctcycle.training.adversarial.penalty import Critic, judge, norm_penalty, r1_penalty, total

WEIGHTS = torch.tensor([[3.0, 0.0], [0.0, -4.0]], dtype=torch.float64)
"""Norm 5."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(seed: int, count: int = 3, size: int = 2) -> Tensor:
    return torch.randn(count, 1, size, size, generator=seeded(seed), dtype=torch.float64)


def linear(weights: Tensor) -> Critic:
    """One logit per image, whose gradient is ``weights`` everywhere."""
    return lambda x: (weights * x).sum((-2, -1), keepdim=True)


def test_penalties_of_a_linear_critic() -> None:
    real, fake = images(0), images(1)
    assert r1_penalty(linear(WEIGHTS), real).item() == pytest.approx(25 / 2)
    assert norm_penalty(linear(WEIGHTS), real, fake, seeded()).item() == pytest.approx((5 - 1) ** 2)
    assert norm_penalty(linear(WEIGHTS / 5), real, fake, seeded()).item() == pytest.approx(0, abs=1e-12)


def test_their_gradients_lead_to_a_zero_and_to_a_unit_norm() -> None:
    for penalty, slope in ((r1_penalty, 1.0), (lambda *a: norm_penalty(*a, images(1), seeded()), 2 * (5 - 1) / 5)):
        weights = WEIGHTS.clone().requires_grad_()
        penalty(linear(weights), images(0)).backward()
        assert torch.allclose(weights.grad, slope * WEIGHTS)  # d|w|^2/2 = w, d(|w| - 1)^2 = 2 (|w| - 1) w / |w|


def test_several_patches_count_by_their_mean_as_in_the_losses() -> None:
    def critic(x: Tensor) -> Tensor:
        return torch.cat([2.0 * x.sum((-2, -1), keepdim=True), 6.0 * x[..., :1, :1]], dim=-1)

    gradient = torch.tensor([1.0 + 3.0, 1.0, 1.0, 1.0])
    assert r1_penalty(critic, images(0)).item() == pytest.approx(gradient.square().sum().item() / 2)


def test_points_of_a_quadratic_critic() -> None:
    def critic(x: Tensor) -> Tensor:
        return 0.5 * 0.7 * x.square().sum((-2, -1), keepdim=True)  # gradient 0.7 x

    real, fake = images(0), images(1)
    norms = 0.7 * real.flatten(1).norm(dim=1)
    assert r1_penalty(critic, real).item() == pytest.approx((norms**2).mean().item() / 2)
    share = torch.rand(3, 1, 1, 1, generator=seeded(5), dtype=torch.float64)
    norms = 0.7 * (share * real + (1 - share) * fake).flatten(1).norm(dim=1)
    assert norm_penalty(critic, real, fake, seeded(5)).item() == pytest.approx(((norms - 1) ** 2).mean().item())
    assert norm_penalty(critic, real, real, seeded(6)).item() == pytest.approx(
        ((0.7 * real.flatten(1).norm(dim=1) - 1) ** 2).mean().item()
    )


@pytest.mark.parametrize("options", [{}, {"spectral_norm": False, "norm": "instance"}, {"view": "image"}], ids=str)
def test_real_discriminators_as_torchs_jacobian_says(options: dict[str, object]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Discriminator(DiscriminatorSpec(filters=4, layers=2, gain=3.0, init="kaiming", **options)).double().eval()
    net.view.double()
    real = images(0, size=16)
    slopes = torch.autograd.functional.jacobian(lambda x: net(x).mean((1, 2, 3)), real)
    own = torch.stack([slopes[number, number] for number in range(3)]).flatten(1)
    assert r1_penalty(net, real).item() == pytest.approx(own.square().sum(1).mean().item() / 2)
    assert norm_penalty(net, real, real, seeded()).item() == pytest.approx(((own.norm(dim=1) - 1) ** 2).mean().item())


@pytest.mark.parametrize("kind", ["r1", "wgan_gp"])
def test_weights_move_by_the_gradient_of_finite_differences(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Discriminator(DiscriminatorSpec(filters=2, layers=1, gain=3.0, init="kaiming", spectral_norm=False))
    net.double()
    weights = next(iter(net.patches.parameters()))
    loss = DiscriminatorLoss(gradient_penalty=kind, penalty_weight=2.0)

    def value() -> Tensor:
        return judge("full", net, (images(0, size=12), images(1, size=12)), loss, seeded())["penalty_full"]

    value().backward()
    found = weights.grad.flatten()[3].item()
    ends = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            weights.flatten()[3] += step
        ends.append(value().item())
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_a_critic_without_slope_has_finite_gradients() -> None:
    weights = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    norm_penalty(linear(weights), images(0), images(1), seeded()).backward()
    assert weights.grad.isfinite().all()


def test_terms_and_their_sum() -> None:
    real, fake, critic = images(0), images(1), linear(WEIGHTS)
    for form, penalty, expected in (
        ("wgan_gp", None, 16.0),
        ("hinge", "wgan_gp", 16.0),
        ("bce", "r1", 12.5),
        ("least_squares", None, None),
        ("least_squares", "none", None),
    ):
        loss = DiscriminatorLoss(form=form, gradient_penalty=penalty, penalty_weight=0.5)
        terms = judge("low", critic, (real, fake), loss, seeded())
        names = {"disc_low"} | ({"penalty_low"} if expected else set())
        assert terms.keys() == names
        assert terms["disc_low"].item() == discriminator_loss(form, critic(real), critic(fake)).item()
        assert total(terms.values()).item() == pytest.approx(terms["disc_low"].item() + 0.5 * (expected or 0))


def test_the_best_linear_critic_of_two_points_measures_their_distance() -> None:
    """WGAN-GP between two points: a critic of slope 1 + distance / (2 weight) along their difference is the optimum."""
    real, fake = torch.zeros(1, 1, 2, 2, dtype=torch.float64), torch.full((1, 1, 2, 2), 1.5, dtype=torch.float64)
    weights = torch.zeros(2, 2, dtype=torch.float64).fill_(-0.3).requires_grad_()
    optimiser = torch.optim.SGD([weights], lr=0.02)
    loss = DiscriminatorLoss(form="wgan_gp")
    for number in range(300):
        optimiser.zero_grad()
        terms = judge("full", linear(weights), (real, fake), loss, seeded(number))
        total(terms.values()).backward()
        optimiser.step()
    assert weights.norm().item() == pytest.approx(1 + 3 / (2 * 10))
    assert -terms["disc_full"].item() == pytest.approx(3 * (1 + 3 / 20))
    assert math.isclose(weights.std().item(), 0, abs_tol=1e-9)
