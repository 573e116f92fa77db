"""Update functions with simulated noise: what learns from what."""

import copy
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import nn
from torch.nn import functional as F

from ctcycle.config.methods import PhysicsCycleGANSettings
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.networks.discriminator import Discriminator
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import DiscriminatorSpec, GeneratorSpec
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.adversarial.losses import discriminator_loss, generator_loss
from ctcycle.training.adversarial.penalty import r1_penalty
from ctcycle.training.methods.calibrated_pairs import CalibratedPairs
from ctcycle.training.methods.physics_cyclegan import PhysicsCycleGAN
from ctcycle.training.pair_loss import ContrastLost, PairLoss
from ctcycle.training.patches.lesions import CLASSES
from ctcycle.training.simulated_noise.noise_filter import AveragedFilter, NoiseFilter
from ctcycle.training.updates import Updates

GENERATOR = GeneratorSpec(filters=4, blocks=1, downsamplings=0, kernel=3, init="kaiming", zero_last=False)
JUDGE = DiscriminatorSpec(filters=4, layers=2, gain=3.0, init="kaiming")


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        name: level * torch.randn(2, 1, 24, 24, generator=rng)
        for name, level in (("low_dose", 0.3), ("full_dose", 0.1), ("noise", 0.2))
    }


def networks() -> nn.ModuleDict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = NoiseFilter(5, HUWindow())
        nets = {"low2full": ResNetGenerator(GENERATOR), "full2low": noise, "average": AveragedFilter(noise, 0.9)}
        return nn.ModuleDict(nets | {"disc_full": Discriminator(JUDGE), "disc_low": Discriminator(JUDGE)})


def method(**settings: Any) -> PhysicsCycleGAN:
    nets = networks()
    groups = {
        group: torch.optim.SGD([p for name in names for p in nets[name].parameters()], lr=0.1)
        for group, names in PhysicsCycleGAN.OPTIMISED.items()
    }
    data = {"manifest": "manifest.csv"}
    given = PhysicsCycleGANSettings.model_validate(
        {"method": "physics_cyclegan", "data": data, **settings}, strict=False
    )
    return PhysicsCycleGAN(nets, Updates(groups), given)


def test_the_filter_moves_by_the_gradient_of_the_low_dose_discriminator_alone() -> None:
    step, twin, images = method(loss={"cycle": 1e4, "identity": 1e4}), networks(), batch()
    loss = generator_loss("least_squares", twin["disc_low"](twin["full2low"](images["full_dose"], images["noise"])))
    slopes = torch.autograd.grad(loss, list(twin["full2low"].parameters()))
    found = step(None, images)
    for before, after, slope in zip(
        twin["full2low"].parameters(), step.networks["full2low"].parameters(), slopes, strict=True
    ):
        assert slope.abs().max() > 0
        assert torch.allclose(after, before - 0.1 * slope, atol=1e-6)
    assert found["gen_adversarial_low"].item() == pytest.approx(loss.item())


def test_the_cycle_gives_the_filter_no_gradient() -> None:
    step, images = method(adversary_every=4), batch()
    engine = Engine(lambda *_: None)
    engine.state.iteration = 3
    found = step(engine, images)
    assert found.keys() == {"gen_cycle_full"}
    assert all(p.grad is None for name in ("full2low", "average") for p in step.networks[name].parameters())
    assert any(p.grad is not None for p in step.networks["low2full"].parameters())
    engine.state.iteration = 4
    assert {"gen_cycle_full", "gen_identity_full", "disc_low", "filter_gain"} < step(engine, images).keys()


@pytest.mark.parametrize("every", [1, 3])
def test_the_denoiser_moves_by_the_weighted_terms_worked_out_by_hand(every: int) -> None:
    loss = {"cycle": 2.0, "identity": 0.5, "adversarial": 0.25}
    step, twin, images = method(loss=loss, adversary_every=every), networks(), batch()
    engine = Engine(lambda *_: None)
    engine.state.iteration = every
    net = twin["low2full"]
    # the average has taken up the first step of the filter by 0.9
    slopes = torch.autograd.grad(
        generator_loss("least_squares", twin["disc_low"](twin["full2low"](images["full_dose"], images["noise"]))),
        list(twin["full2low"].parameters()),
    )
    with torch.no_grad():
        for parameter, slope in zip(twin["full2low"].parameters(), slopes, strict=True):
            parameter.sub_(0.9 * 0.1 * slope)
        fake_low = twin["full2low"](images["full_dose"], images["noise"])
    adversarial = generator_loss("least_squares", twin["disc_full"](net(images["low_dose"])))
    terms = [
        2.0 * F.l1_loss(net(fake_low), images["full_dose"]),
        every * 0.5 * F.l1_loss(net(images["full_dose"]), images["full_dose"]),
        every * 0.25 * adversarial,
    ]
    slopes = torch.autograd.grad(sum(terms), list(net.parameters()))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    step(engine, images)
    for start, after, slope in zip(before, step.networks["low2full"].parameters(), slopes, strict=True):
        assert torch.allclose(after, start - 0.1 * slope, atol=2e-5)


def test_calibrated_pairs_move_the_denoiser_by_l1_and_keep_the_filter() -> None:
    nets, twin, images = networks(), networks(), batch()
    nets["full2low"].requires_grad_(requires_grad=False)
    step = CalibratedPairs(nets, Updates({"gen": torch.optim.SGD(nets["low2full"].parameters(), lr=0.1)}))
    noisy = (images["full_dose"] + images["noise"]).clamp(-1, 1)
    term = F.l1_loss(twin["low2full"](noisy), images["full_dose"])
    slopes = torch.autograd.grad(term, list(twin["low2full"].parameters()))
    assert step(None, images)["gen_simulated"].item() == pytest.approx(term.item())
    for before, after, slope in zip(twin["low2full"].parameters(), nets["low2full"].parameters(), slopes, strict=True):
        assert torch.allclose(after, before - 0.1 * slope, atol=1e-6)
    assert all(
        torch.equal(a, b) for a, b in zip(nets["full2low"].parameters(), twin["full2low"].parameters(), strict=True)
    )


def test_calibrated_pairs_may_square_small_errors_and_penalise_lost_contrast() -> None:
    nets, images = networks(), batch()
    nets["contrast"] = ContrastLost()
    nets["contrast"].updates += 51
    nets["contrast"].inserted += 1.0
    nets["contrast"].lost -= 0.4
    twin = copy.deepcopy(nets)
    full = images["full_dose"]
    size = (len(full), 1 + CLASSES, *full.shape[-2:])
    lesions = torch.randn(size, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.SGD(nets["low2full"].parameters(), lr=0.1)
    step = CalibratedPairs(nets, Updates({"gen": optimiser}), loss=PairLoss(0.2, 0.3))
    output = twin["low2full"](twin["full2low"](full, images["noise"]))
    error, penalty = F.smooth_l1_loss(output, full, beta=0.2), twin["contrast"](output, full, lesions)
    slopes = torch.autograd.grad(error + 0.3 * penalty, list(twin["low2full"].parameters()))
    found = step(None, {**images, "lesions": lesions})
    assert found["gen_simulated"].item() == pytest.approx(error.item())
    assert penalty.item() > 0
    assert found["contrast_lost"].item() == pytest.approx(penalty.item())
    for before, after, slope in zip(twin["low2full"].parameters(), nets["low2full"].parameters(), slopes, strict=True):
        assert torch.allclose(after, before - 0.1 * slope, atol=1e-6)


class Fixed(ImagePool):
    """Always hands out one image, and notes what it was given."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__(1)
        self.image, self.seen = image, torch.zeros(0)

    def exchange(self, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:  # noqa: ARG002 (as above)
        self.seen = images
        return self.image


def test_discriminators_judge_what_the_pools_hand_out_and_add_the_penalty() -> None:
    step, twin, images = method(loss={"gradient_penalty": "r1", "penalty_weight": 3.0}), networks(), batch()
    assert step.pools == {}
    pooled = method(image_pool=2)
    made = PhysicsCycleGAN.create(pooled.settings, pooled.networks, pooled.updates)
    assert made.state_dict()["pools"] == {"pool_full": {"images": []}, "pool_low": {"images": []}}
    pools = {name: Fixed(batch(seed)["low_dose"]) for seed, name in enumerate(("pool_full", "pool_low"), 5)}
    step.old_fakes = pools
    fooled = [twin["disc_low"], twin["disc_full"]]  # each has judged once: spectral norm has taken one step
    fooled[0](twin["full2low"](images["full_dose"], images["noise"]))
    fooled[1](twin["low2full"](images["low_dose"]))
    found = step(None, images)
    for name, real in (("full", "full_dose"), ("low", "low_dose")):
        judge = twin[f"disc_{name}"]
        disc = discriminator_loss("least_squares", judge(images[real]), judge(pools[f"pool_{name}"].image))
        assert found[f"disc_{name}"].item() == pytest.approx(disc.item(), rel=1e-5)
        assert found[f"penalty_{name}"].item() == pytest.approx(3 * r1_penalty(judge, images[real]).item(), rel=1e-4)
        assert pools[f"pool_{name}"].seen.shape == images[real].shape
