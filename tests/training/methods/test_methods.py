import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from monai.networks.nets import BasicUNet
from random_states import random_states
from torch import Tensor, nn

from ctcycle.config.methods import AdversarialLoss, CycleGANLoss
from ctcycle.networks.discriminator import Discriminator
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import DiscriminatorSpec, GeneratorSpec
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.adversarial.losses import discriminator_loss, generator_loss
from ctcycle.training.adversarial.pasted_noise import PastedNoise
from ctcycle.training.methods.cyclegan import CycleGAN
from ctcycle.training.methods.noise_swap import NoiseSwap
from ctcycle.training.methods.supervised import Supervised
from ctcycle.training.pair_loss import ContrastLost, PairLoss
from ctcycle.training.patches.lesions import CLASSES
from ctcycle.training.updates import Batch, Updates, frozen

RATE = {"gen": 0.01, "disc": 0.02}
MEMBERS = {"gen": ("low2full", "full2low"), "disc": ("disc_full", "disc_low")}


class Line(nn.Module):
    """``a x + b``, and ``c z`` of a noise channel: a network that can be followed by hand."""

    def __init__(self, a: float, b: float, c: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([a, b, c], dtype=torch.float64))
        self.in_channels = 2 if c else 1

    def forward(self, image: Tensor) -> Tensor:
        return line(self.weights, image)


def line(weights: Tensor, image: Tensor) -> Tensor:
    changed = weights[0] * image[:, :1] + weights[1]
    return changed + weights[2] * image[:, 1:] if image.shape[1] == 2 else changed


def lines(noise: float = 0.0, swap: bool = False) -> nn.ModuleDict:
    nets: dict[str, nn.Module] = {
        "low2full": Line(0.9, 0.05),
        "full2low": Line(1.2, -0.1, noise),
        "disc_full": Line(0.7, 0.2),
        "disc_low": Line(-0.4, 0.3),
    }
    return nn.ModuleDict(nets | ({"swap": PastedNoise(sigma_px=1.0)} if swap else {}))


def batch(seed: int = 0, size: int = 12) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    low, full = (torch.randn(3, 1, size, size, generator=rng, dtype=torch.float64) for _ in range(2))
    return {"low_dose": 0.5 * low + 0.1, "full_dose": 0.3 * full - 0.2}


def single(images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: image.float() for name, image in images.items()}


@dataclass
class Watched(Updates):
    """Notes, after every update, which networks have gradients and which weights have changed."""

    networks: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    notes: list[tuple[str, set[str], set[str]]] = field(default_factory=list)

    def minimise(self, loss: Tensor, optimiser: str) -> None:
        nets = {name: net for name, net in self.networks.items() if list(net.parameters())}
        before = {name: nn.utils.parameters_to_vector(net.parameters()).clone() for name, net in nets.items()}
        for net in nets.values():
            net.zero_grad()
        super().minimise(loss, optimiser)
        graded = {name for name, net in nets.items() if any(p.grad is not None for p in net.parameters())}
        after = {name: nn.utils.parameters_to_vector(net.parameters()) for name, net in nets.items()}
        self.notes.append((optimiser, graded, {name for name in nets if not torch.equal(before[name], after[name])}))


def updates(nets: nn.ModuleDict, **options: Any) -> Watched:
    """Plain gradient descent, whose step shows the gradient."""
    optimisers = {
        group: torch.optim.SGD([p for name in members if name in nets for p in nets[name].parameters()], lr=RATE[group])
        for group, members in MEMBERS.items()
        if set(members) & set(nets)
    }
    return Watched(optimisers, networks=nets, **options)


def cyclegan(nets: nn.ModuleDict, loss: CycleGANLoss, **options: Any) -> CycleGAN:
    return CycleGAN(nets, updates(nets, **options), loss, ImagePool(0), ImagePool(0))


def cyclegan_by_hand(weights: Mapping[str, Tensor], images: Batch, loss: CycleGANLoss, noises: list[Tensor]) -> Any:
    """The terms and the generators' total of method.md, section 5, written out once more."""
    x, y = images["low_dose"], images["full_dose"]
    drawn = iter(noises)

    def to_full(image: Tensor) -> Tensor:
        return line(weights["low2full"], image)

    def to_low(image: Tensor) -> Tensor:
        return line(weights["full2low"], torch.cat([image, next(drawn)], 1) if noises else image)

    def mean_distance(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).abs().mean()

    fake_full, fake_low = to_full(x), to_low(y)
    terms = {
        "gen_adversarial_full": generator_loss(loss.form, line(weights["disc_full"], fake_full)),
        "gen_adversarial_low": generator_loss(loss.form, line(weights["disc_low"], fake_low)),
        "gen_cycle_full": mean_distance(to_full(fake_low), y),
    }
    if loss.low_cycle:
        terms["gen_cycle_low"] = mean_distance(to_low(fake_full), x)
    if loss.identity and loss.identity_domain != "none":
        source = loss.identity_domain == "source"
        terms["gen_identity_full"] = mean_distance(fake_full, x) if source else mean_distance(to_full(y), y)
        if loss.low_identity:
            terms["gen_identity_low"] = mean_distance(fake_low, y) if source else mean_distance(to_low(x), x)
    if loss.noise_swap:
        pasted = PastedNoise(sigma_px=1.0)(x, y, fake_full.detach())
        terms["gen_noise_swap"] = mean_distance(to_full(pasted), y)
    total = sum(value * weight_of(name, loss) for name, value in terms.items())
    disc = {
        "disc_full": discriminator_loss(
            loss.form, line(weights["disc_full"], y), line(weights["disc_full"], fake_full.detach())
        ),
        "disc_low": discriminator_loss(
            loss.form, line(weights["disc_low"], x), line(weights["disc_low"], fake_low.detach())
        ),
    }
    for name in ("full", "low") if loss.penalty != "none" else ():
        disc[f"penalty_{name}"] = penalty_by_hand(weights[f"disc_{name}"], x[0].numel(), loss)
    return terms, total, disc


def penalty_by_hand(weights: Tensor, pixels: int, loss: AdversarialLoss) -> Tensor:
    """Of a line: the mean of all its logits has the gradient a / n in each of n pixels."""
    norm = weights[0].abs() / pixels**0.5
    return loss.penalty_weight * (norm**2 / 2 if loss.penalty == "r1" else (norm - 1) ** 2)


def weight_of(term: str, loss: AdversarialLoss) -> float:
    kinds = ("adversarial", "cycle", "identity", "noise_swap")
    return next(getattr(loss, kind) for kind in kinds if kind in term)


def weights_of(nets: nn.ModuleDict) -> dict[str, Tensor]:
    return {name: net.weights.detach().clone().requires_grad_() for name, net in nets.items() if isinstance(net, Line)}


def check_descent(nets: nn.ModuleDict, before: Mapping[str, Tensor], group: str, total: Tensor) -> None:
    members = [name for name in MEMBERS[group] if name in nets]
    slopes = torch.autograd.grad(total, [before[name] for name in members], retain_graph=True)
    for name, slope in zip(members, slopes, strict=True):
        moved = (nets[name].weights - before[name]).detach()
        assert moved.tolist() == pytest.approx((-RATE[group] * slope).tolist(), rel=1e-4, abs=1e-9), name


SWITCHES: list[dict[str, Any]] = [
    {},
    {"form": "bce"},
    {"form": "hinge", "adversarial": 2.0, "cycle": 3.0, "identity": 0.5},
    {"form": "wgan_gp"},
    {"form": "wgan_gp", "penalty_weight": 3.0, "identity_domain": "none"},
    {"form": "hinge", "gradient_penalty": "wgan_gp"},
    {"gradient_penalty": "r1", "penalty_weight": 40.0},
    {"gradient_penalty": "none"},
    {"identity_domain": "source"},
    {"identity": 0.0},
    {"low_cycle": False},
    {"low_identity": False},
    {"low_identity": False, "identity_domain": "source", "low_cycle": False},
    {"noise_swap": 7.0},
    {"noise_swap": 10.0, "cycle": 3.0, "identity": 1.5, "low_cycle": False, "low_identity": False},  # the recipe
]


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_cyclegan_terms_and_updates_are_those_worked_out_by_hand(switches: dict[str, Any], noise: float) -> None:
    loss, images = CycleGANLoss(**switches), batch()
    nets = lines(noise, swap=bool(loss.noise_swap))
    before, step = weights_of(nets), cyclegan(nets, loss)
    step.updates.reseed(11)
    rng = torch.Generator().manual_seed(11)
    noises = [
        torch.randn(images["low_dose"].shape, generator=rng, dtype=torch.float64) for _ in range(3 if noise else 0)
    ]
    terms, total, disc = cyclegan_by_hand(before, images, loss, noises)
    found = step(None, images)
    assert not any(value.requires_grad for value in found.values())
    expected = {name: value.item() for name, value in {**terms, **disc}.items()}
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-6)
    check_descent(nets, before, "gen", total)
    check_descent(nets, before, "disc", sum(disc.values()))


@pytest.mark.parametrize("form", ["least_squares", "hinge", "wgan_gp"])
def test_noise_swap_terms_and_updates_are_those_worked_out_by_hand(form: Any) -> None:
    loss, images = AdversarialLoss(form=form, adversarial=0.5, identity=1.5, noise_swap=10.0), batch()
    nets = nn.ModuleDict({name: net for name, net in lines(swap=True).items() if not name.endswith("low")})
    before, x, y = weights_of(nets), images["low_dose"], images["full_dose"]
    step = NoiseSwap(nets, updates(nets), loss, ImagePool(0))
    step.updates.adversarial = 0.05
    found = step(None, images)
    gen, judge = before["low2full"], before["disc_full"]
    fake = line(gen, x)
    pasted = PastedNoise(sigma_px=1.0)(x, y, fake.detach())
    terms = {
        "gen_adversarial_full": generator_loss(form, line(judge, fake)),
        "gen_identity_full": (line(gen, y) - y).abs().mean(),
        "gen_noise_swap": (line(gen, pasted) - y).abs().mean(),
    }
    disc = discriminator_loss(form, line(judge, y), line(judge, fake.detach()))
    judged = {"disc_full": disc}
    if form == "wgan_gp":
        judged["penalty_full"] = penalty_by_hand(judge, x[0].numel(), loss)
    expected = {name: value.item() for name, value in {**terms, **judged}.items()}
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-6)
    total = sum(weight * value for weight, value in zip((0.5 * 0.05, 1.5, 10.0), terms.values(), strict=True))
    check_descent(nets, before, "gen", total)
    check_descent(nets, before, "disc", sum(judged.values()))


def test_the_supervised_term_and_update_are_those_worked_out_by_hand() -> None:
    nets, images = nn.ModuleDict({"low2full": Line(0.9, 0.05)}), batch()
    before = weights_of(nets)
    found = Supervised(nets, updates(nets))(None, images)
    term = (line(before["low2full"], images["low_dose"]) - images["full_dose"]).abs().mean()
    assert {name: value.item() for name, value in found.items()} == {"gen_supervised": pytest.approx(term.item())}
    check_descent(nets, before, "gen", term)


def test_small_differences_count_squared_where_asked() -> None:
    nets, images = nn.ModuleDict({"low2full": Line(0.9, 0.05)}), batch()
    before = weights_of(nets)
    found = Supervised(nets, updates(nets), PairLoss(quadratic_below=0.3))(None, images)
    difference = (line(before["low2full"], images["low_dose"]) - images["full_dose"]).abs()
    term = torch.where(difference < 0.3, difference**2 / 0.6, difference - 0.15).mean()  # Huber 1964, over 0.3
    assert 0 < (difference < 0.3).float().mean() < 1
    assert found["gen_supervised"].item() == pytest.approx(term.item())
    check_descent(nets, before, "gen", term)


def test_lost_contrast_is_added_with_its_weight() -> None:
    nets, images = nn.ModuleDict({"low2full": Line(0.9, 0.05), "contrast": ContrastLost()}).double(), batch()
    lesions = torch.randn(3, 1 + CLASSES, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    nets["contrast"].updates += 51
    nets["contrast"].inserted += 1.0
    nets["contrast"].lost -= 0.4
    before, again = weights_of(nets), copy.deepcopy(nets["contrast"])
    found = Supervised(nets, updates(nets), PairLoss(contrast_weight=0.3))(None, {**images, "lesions": lesions})
    output = line(before["low2full"], images["low_dose"])
    supervised = (output - images["full_dose"]).abs().mean()
    penalty = again(output, images["full_dose"], lesions)
    assert penalty.item() > 0
    assert found["contrast_lost"].item() == pytest.approx(penalty.item(), rel=1e-6)
    check_descent(nets, before, "gen", supervised + 0.3 * penalty)


def test_the_finishing_factor_lowers_the_weight_and_not_the_logged_term() -> None:
    results = {}
    for factor in (1.0, 0.05):
        nets, loss = lines(), CycleGANLoss()
        before, step = weights_of(nets), cyclegan(nets, loss)
        step.updates.adversarial = factor
        found = step(None, batch())
        results[factor] = {name: value.item() for name, value in found.items()}
        terms, total, _ = cyclegan_by_hand(before, batch(), loss, [])
        adversarial = terms["gen_adversarial_full"] + terms["gen_adversarial_low"]
        check_descent(nets, before, "gen", total - (1 - factor) * adversarial)
    assert results[1.0] == results[0.05]


@dataclass
class History(ImagePool):
    """Always hands out one image."""

    image: Tensor
    seen: list[Tensor] = field(default_factory=list)

    def exchange(self, images: Tensor, rng: torch.Generator) -> Tensor:  # noqa: ARG002 (as in the class above)
        self.seen.append(images)
        return self.image


def test_discriminators_judge_what_the_pools_hand_out() -> None:
    nets, images = lines(), batch()
    pools = [History(torch.full((3, 1, 12, 12), value, dtype=torch.float64)) for value in (0.5, -0.25)]
    found = CycleGAN(nets, updates(nets), CycleGANLoss(adversarial=0.0), *pools)(None, images)
    for name, pool, real in zip(("disc_full", "disc_low"), pools, ("full_dose", "low_dose"), strict=True):
        weights = weights_of(lines())[name]
        expected = discriminator_loss("least_squares", line(weights, images[real]), line(weights, pool.image))
        assert found[name].item() == pytest.approx(expected.item())
        assert not pool.seen[0].requires_grad
    assert torch.allclose(pools[0].seen[0], 0.9 * images["low_dose"] + 0.05)
    alone = nn.ModuleDict(
        {name: net for name, net in lines(swap=True).items() if name in {"low2full", "disc_full", "swap"}}
    )
    NoiseSwap(alone, updates(alone), AdversarialLoss(), pools[1])(None, images)
    assert torch.allclose(pools[1].seen[1], pools[0].seen[0])


def test_each_half_grades_and_moves_its_own_networks_only() -> None:
    nets = lines(noise=0.3, swap=True)
    step = cyclegan(nets, CycleGANLoss(noise_swap=1.0))
    step(None, batch())
    gen, disc = {"low2full", "full2low"}, {"disc_full", "disc_low"}
    assert step.updates.notes == [("gen", gen, gen), ("disc", disc, disc)]
    assert all(parameter.requires_grad for parameter in nets.parameters())
    alone = nn.ModuleDict({name: nets[name] for name in ("low2full", "disc_full", "swap")})
    step = NoiseSwap(alone, updates(alone), AdversarialLoss(noise_swap=1.0), ImagePool(0))
    step(None, batch())
    assert step.updates.notes == [
        ("gen", {"low2full"}, {"low2full"}),
        ("disc", {"disc_full"}, {"disc_full"}),
    ]


def test_frozen_lets_gradients_through_and_thaws_after_a_failure() -> None:
    net, image = Line(2.0, 0.0), torch.ones(1, 1, 2, 2, requires_grad=True)

    def fail() -> None:
        with frozen(net):
            net(image).sum().backward()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert net.weights.grad is None
    assert image.grad.tolist() == [[[[2, 2], [2, 2]]]]
    assert net.weights.requires_grad


SMALL = GeneratorSpec(filters=4, blocks=1, downsamplings=0, kernel=3, init="kaiming")
JUDGE = DiscriminatorSpec(filters=4, layers=2, gain=3.0, init="kaiming")


def real_networks(noise_channel: bool = True) -> nn.ModuleDict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.ModuleDict(
            {
                "low2full": ResNetGenerator(SMALL),
                "full2low": ResNetGenerator(SMALL, noise_channel=noise_channel),
                "disc_full": Discriminator(JUDGE),
                "disc_low": Discriminator(JUDGE),
                "swap": PastedNoise(),
            }
        )


def test_one_step_lowers_the_supervised_loss() -> None:
    nets, images = real_networks(), single(batch(size=24))
    images["full_dose"] = 0.5 * images["low_dose"]
    step = Supervised(nets, Updates({"gen": torch.optim.Adam(nets["low2full"].parameters(), lr=1e-2)}))
    losses = [step(None, images)["gen_supervised"].item() for _ in range(10)]
    assert losses[1] < losses[0]
    assert losses[-1] < 0.8 * losses[0]


def test_noise_is_new_at_each_call_and_repeats_after_a_reseed() -> None:
    step, full = cyclegan(lines(noise=0.3), CycleGANLoss()), batch()["full_dose"]
    before = random_states()
    step.updates.reseed(3)
    first, second = step.degrade(full), step.degrade(full)
    step.updates.reseed(3)
    again = step.degrade(full)
    step.updates.reseed(4)
    other = step.degrade(full)
    assert random_states() == before
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    noise = (first - (1.2 * full - 0.1)).detach() / 0.3
    assert (noise.mean().item(), noise.std().item()) == pytest.approx((0, 1), abs=0.2)


def test_without_a_noise_channel_nothing_is_drawn() -> None:
    step = cyclegan(lines(), CycleGANLoss())
    state = step.updates.noise_rng.get_state()
    step(None, batch())
    assert torch.equal(step.updates.noise_rng.get_state(), state)


def test_networks_that_do_not_tell_their_channels_take_one() -> None:
    nets = real_networks()
    nets["full2low"] = BasicUNet(2, 1, 1, features=(4, 4, 4, 4, 4, 4))
    assert not hasattr(nets["full2low"], "in_channels")
    assert all(value.isfinite() for value in cyclegan(nets, CycleGANLoss())(None, single(batch(size=32))).values())


@pytest.mark.parametrize("limit", [1e-3, 1e6])
def test_gradients_are_scaled_down_to_the_norm_asked_for(limit: float) -> None:
    free, clipped = lines(), lines()
    before = weights_of(free)
    moved = {}
    for nets, options in ((free, {}), (clipped, {"clip_norm": limit})):
        cyclegan(nets, CycleGANLoss(), **options)(None, batch())
        for group, members in MEMBERS.items():
            steps = torch.cat([nets[name].weights.detach() - before[name].detach() for name in members])
            moved[group, nets is clipped] = steps / -RATE[group]
    for group in MEMBERS:
        gradient = moved[group, False]
        scale = min(1.0, limit / gradient.norm().item())
        assert torch.allclose(moved[group, True], gradient * scale, rtol=1e-4)


STEPS: dict[str, Callable[..., Any]] = {
    "cyclegan": lambda nets, updates: CycleGAN(nets, updates, CycleGANLoss(noise_swap=1.0), ImagePool(2), ImagePool(2)),
    "noise_swap": lambda nets, updates: NoiseSwap(nets, updates, AdversarialLoss(noise_swap=1.0), ImagePool(2)),
    "supervised": Supervised,
    "wgan_gp": lambda nets, updates: CycleGAN(
        nets, updates, CycleGANLoss(form="wgan_gp", noise_swap=1.0), ImagePool(2), ImagePool(2)
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_repeat_exactly_and_leave_global_generators_alone(name: str) -> None:
    results = []
    before = random_states()
    for _ in range(2):
        nets = real_networks()
        step = STEPS[name](nets, updates(nets))
        for number in range(3):
            step.updates.reseed(number)
            found = step(None, single(batch(number, size=32)))
        results.append((list(found.items()), [parameter.tolist() for parameter in nets.parameters()]))
    assert random_states() == before
    assert results[0] == results[1]


@pytest.mark.parametrize("name", STEPS)
def test_bfloat16_gives_nearly_the_same_and_keeps_weights_in_single_precision(name: str) -> None:
    found = {}
    for dtype in (None, torch.bfloat16):
        nets = real_networks()
        step = STEPS[name](nets, updates(nets, autocast=dtype))
        step.updates.reseed(0)
        first, terms = (step(None, single(batch(size=20))) for _ in range(2))  # the first is at the identity
        assert all(value.isfinite() for value in first.values())
        found[dtype] = {term: value.item() for term, value in terms.items()}
        assert {parameter.dtype for parameter in nets.parameters()} == {torch.float32}
    assert found[None] != found[torch.bfloat16]
    assert found[torch.bfloat16] == pytest.approx(found[None], rel=0.05, abs=0.01)
