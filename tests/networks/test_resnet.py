import copy
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from ctcycle.networks.discriminator import Discriminator, HighPass
from ctcycle.networks.layers import initialise
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import DiscriminatorSpec, GeneratorSpec, Norm

REPORT_GENERATOR = GeneratorSpec(norm="batch", residual="conv1x1", activation="tanh_after_sum", zero_last=False)
REPORT_DISCRIMINATOR = DiscriminatorSpec(norm="batch", spectral_norm=False, view="image")
SMALL = GeneratorSpec(filters=4, blocks=2, kernel=3, init="kaiming", zero_last=False)
SMALL_DISCRIMINATOR = DiscriminatorSpec(filters=4, gain=1.0, init="kaiming")
NORMS = get_args(Norm)
SPECS: list[GeneratorSpec | DiscriminatorSpec] = [
    *(replace(SMALL, norm=norm) for norm in NORMS),
    replace(SMALL, dropout=0.2, dilations=(2, 1), downsamplings=0),
    *(replace(SMALL_DISCRIMINATOR, norm=norm, spectral_norm=norm == "none") for norm in NORMS),
]


def make(spec: GeneratorSpec | DiscriminatorSpec, seed: int = 0, **options: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResNetGenerator(spec, **options) if isinstance(spec, GeneratorSpec) else Discriminator(spec)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_reports_networks_have_the_parameters_that_it_trained() -> None:
    assert parameters(make(REPORT_GENERATOR)) == 11_370_883
    assert parameters(make(REPORT_DISCRIMINATOR)) == 2_763_585


def test_the_default_generator_is_the_reports_with_biases_for_norms_and_no_residual_weights() -> None:
    biases = 64 + 128 + 256 + 18 * 256 + 128 + 64
    norms = 2 * biases
    assert parameters(make(GeneratorSpec())) == 11_370_883 - norms - 2 + biases


def test_the_patch_discriminator_sees_70_pixels_and_answers_14_by_14_on_128() -> None:
    net = make(replace(SMALL_DISCRIMINATOR, view="image")).eval()
    image = torch.zeros(1, 1, 128, 128, requires_grad=True)
    logits = net(image)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    rows, columns = (image.grad[0, 0].abs().sum(axis).nonzero().flatten() for axis in (1, 0))
    for touched in (rows, columns):
        assert touched.max() - touched.min() + 1 == 70


@pytest.mark.parametrize(("layers", "field", "answers"), [(1, 16, 62), (2, 34, 30)])
def test_fewer_layers_see_less(layers: int, field: int, answers: int) -> None:
    net = make(replace(SMALL_DISCRIMINATOR, view="image", layers=layers)).eval()
    image = torch.zeros(1, 1, 128, 128, requires_grad=True)
    logits = net(image)
    assert logits.shape[-2:] == (answers, answers)
    logits[0, 0, answers // 2, answers // 2].backward()
    assert np.ptp(image.grad[0, 0].nonzero()[:, 0].numpy()) + 1 == field


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("noise_channel", [False, True])
def test_the_default_start_is_exactly_the_identity(norm: Norm, noise_channel: bool) -> None:
    net = make(GeneratorSpec(filters=4, blocks=2, norm=norm), noise_channel=noise_channel)
    image = noise(2, net.in_channels, 33, 32)
    for mode in (True, False):
        assert torch.equal(net.train(mode)(image), image[:, :1])


def test_the_identity_start_learns() -> None:
    net = make(GeneratorSpec(filters=4, blocks=1))
    net(noise(1, 1, 32, 32)).square().mean().backward()
    assert net.body[-1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (30, 41)])
def test_every_norm_keeps_any_size_and_does_something(norm: Norm, shape: tuple[int, int]) -> None:
    net = make(replace(SMALL, norm=norm))
    image = noise(2, 1, *shape)
    change = net(image) - image
    assert change.shape == image.shape
    assert change.isfinite().all()
    assert change.std() > 1e-4


def test_padding_inside_does_not_reach_far() -> None:
    net = make(replace(SMALL, downsamplings=1)).eval()
    image = noise(1, 1, 64, 64)
    assert torch.allclose(net(image)[..., :32, :32], net(image[..., :63, :61])[..., :32, :32], atol=1e-6)


def body(net: nn.Module, image: Tensor) -> Tensor:
    return net.body(image)


@pytest.mark.parametrize(
    ("residual", "activation", "form"),
    [
        ("identity", "tanh_before_sum", lambda x, y, _: x + y.tanh()),  # the report's text
        ("conv1x1", "tanh_after_sum", lambda x, y, skip: (y + skip.weight.item() * x + skip.bias).tanh()),  # as trained
        ("identity", "none", lambda x, y, _: x + y),
        ("none", "none", lambda _, y, __: y),
        ("none", "tanh_after_sum", lambda _, y, __: y.tanh()),
    ],
)
def test_residual_and_activation_as_named(residual: Any, activation: Any, form: Any) -> None:
    net = make(replace(SMALL, residual=residual, activation=activation)).eval()
    if residual == "conv1x1":
        nn.init.constant_(net.skip.bias, 0.25)
    image = noise(1, 1, 32, 32)
    assert torch.allclose(net(image), form(image, body(net, image), net.skip), atol=1e-6)


def test_the_noise_channel_moves_the_output_and_is_no_part_of_the_residual() -> None:
    net = make(SMALL, noise_channel=True).eval()
    image, first, second = (noise(1, 1, 32, 32, seed=seed) for seed in range(3))
    one, other = (net(torch.cat([image, z], 1)) for z in (first, second))
    assert one.shape == (1, 1, 32, 32)
    assert (one - other).std() > 1e-4
    assert torch.allclose(one - body(net, torch.cat([image, first], 1)), image, atol=1e-6)


def reach(net: nn.Module, size: int = 65) -> int:
    """Rows that the middle of the output depends on."""
    image = noise(1, 1, size, size).requires_grad_()
    net(image)[0, 0, size // 2, size // 2].backward()
    return int(np.ptp(image.grad[0, 0].nonzero()[:, 0].numpy())) + 1


@pytest.mark.parametrize(("dilations", "rows"), [((1,), 13), ((2,), 21), ((1, 3), 21), ((4, 1), 25)])
def test_dilations_widen_what_a_pixel_depends_on(dilations: tuple[int, ...], rows: int) -> None:
    spec = replace(SMALL, downsamplings=0, dilations=dilations)
    assert reach(make(spec).eval()) == rows
    assert parameters(make(spec)) == parameters(make(replace(spec, dilations=(1,))))


def test_dropout_acts_in_training_only() -> None:
    net, image = make(replace(SMALL, dropout=0.5)), noise(1, 1, 16, 16)
    assert not torch.equal(net(image), net(image))
    assert torch.equal(net.eval()(image), net(image))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_no_network_holds_a_torch_instance_norm(spec: GeneratorSpec | DiscriminatorSpec) -> None:
    kinds = {type(module).__name__ for module in make(spec).modules()}
    assert not [kind for kind in kinds if kind.startswith("InstanceNorm")]
    expected = {"batch": "BatchNorm2d", "instance": "GroupNorm", "group": "GroupNorm"}
    assert [kind for kind in kinds if kind.endswith("Norm2d") or kind == "GroupNorm"] == (
        [expected[spec.norm]] if spec.norm != "none" else []
    )


def gradients(net: nn.Module, image: Tensor, layout: torch.memory_format) -> list[Tensor]:
    """Gradients of the input and of all weights, for a fixed incoming gradient that lies in memory like ``layout``."""
    net = copy.deepcopy(net).to(memory_format=layout)
    image = image.clone(memory_format=layout).requires_grad_()
    answer = net(image)
    answer.backward(noise(*answer.shape, seed=1).to(answer.dtype).contiguous(memory_format=layout))
    return [image.grad, *(parameter.grad for parameter in net.parameters())]


def worst_gradient_error(net: nn.Module, channels: int = 1) -> float:
    """Largest relative error of a gradient in single precision, one image, channels last, against float64."""
    image = noise(1, channels, 64, 64)
    found = gradients(net, image, torch.channels_last)
    right = gradients(copy.deepcopy(net).double(), image.double(), torch.contiguous_format)
    scale = max(float(gradient.norm()) for gradient in right)
    return max(float((a - b).norm()) / max(float(b.norm()), 1e-6 * scale) for a, b in zip(found, right, strict=True))


INSTANCE_NETS = {
    "generator": replace(SMALL, norm="instance"),
    "discriminator": replace(SMALL_DISCRIMINATOR, norm="instance", spectral_norm=False, view="image"),
}


@pytest.mark.parametrize("name", INSTANCE_NETS)
def test_gradients_of_instance_norms_are_right_for_one_channels_last_image(name: str) -> None:
    assert worst_gradient_error(make(INSTANCE_NETS[name])) < 1e-4


def test_that_check_finds_the_fault_of_torchs_instance_norm() -> None:
    error = worst_gradient_error(nn.Sequential(nn.Conv2d(4, 8, 3), nn.InstanceNorm2d(8)), channels=4)
    if error < 1e-4:
        pytest.skip(f"torch {torch.__version__} has mended its InstanceNorm2d")
    assert error > 0.1


def test_group_norm_with_one_channel_a_group_is_instance_norm() -> None:
    net = make(INSTANCE_NETS["generator"])
    norms = [module for module in net.modules() if isinstance(module, nn.GroupNorm)]
    for norm in norms:
        features = noise(2, norm.num_channels, 9, 8) * 3 + 1
        assert torch.allclose(norm(features), nn.InstanceNorm2d(norm.num_channels)(features), atol=1e-5)
    assert len(norms) == 9


@pytest.mark.parametrize(("sigma", "gain"), [(3.0, 20.0), (1.0, 1.0), (2.5, 3.0)])
def test_the_high_pass_is_what_scipys_gaussian_takes_away(sigma: float, gain: float) -> None:
    image = noise(2, 1, 40, 37)
    view = HighPass(sigma, gain)(image)
    for seen, plane in zip(view[:, 0], image[:, 0].numpy(), strict=True):
        smooth = gaussian_filter(plane, sigma, mode="mirror", radius=int(3 * sigma + 0.5))
        np.testing.assert_allclose(seen, gain * (plane - smooth), atol=gain * 1e-6)


def test_the_high_pass_is_blind_to_a_constant_and_lets_gradients_through() -> None:
    image = torch.full((1, 1, 32, 32), 0.7, requires_grad=True)
    view = HighPass(3.0, 20.0)(image)
    assert view.abs().max() < 1e-5
    view[0, 0, 16, 16].backward()
    assert image.grad.sum().abs() < 1e-5
    assert image.grad[0, 0, 16, 16] > 19


def test_the_high_pass_keeps_single_precision_under_autocast() -> None:
    image, view = noise(1, 1, 32, 32) - 1000, HighPass(3.0, 20.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = view(image)
    assert torch.equal(inside, view(image))


def test_the_discriminators_view_and_gain_are_applied_and_kept_with_the_weights() -> None:
    spec = replace(SMALL_DISCRIMINATOR, view="highpass", gain=7.0)
    net, plain = make(spec).eval(), make(replace(spec, view="image")).eval()
    image = noise(1, 1, 64, 64)
    assert torch.equal(net(image), plain(HighPass(spec.sigma_px, 7.0)(image)))
    other = make(replace(spec, gain="auto"), seed=1).eval()
    assert other.view.gain == 1.0
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(image), net(image))


def test_spectral_norm_bounds_every_convolution() -> None:
    net = make(replace(SMALL_DISCRIMINATOR, spectral_norm=True))
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for conv, _ in product(convs, range(50)):
            assert conv.weight.isfinite().all()  # in training, each look at the weight is a step of the power iteration
        largest = [torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() for conv in convs]
    assert largest == pytest.approx([1.0] * 5, rel=0.02)
    free = make(replace(SMALL_DISCRIMINATOR, spectral_norm=False))
    assert not [name for name, _ in free.named_parameters() if "parametrizations" in name]


def test_normal_weights_are_the_papers() -> None:
    net = make(REPORT_DISCRIMINATOR)
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    weights = torch.cat([conv.weight.flatten() for conv in convs])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert abs(weights.mean().item()) < 1e-4
    assert not any(conv.bias.any() for conv in convs if conv.bias is not None)
    scales = torch.cat([module.weight for module in net.modules() if isinstance(module, nn.BatchNorm2d)])
    assert (scales.mean().item(), scales.std().item()) == pytest.approx((1.0, 0.02), abs=0.003)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_kaiming_weights_keep_the_variance(slope: float) -> None:
    conv = nn.Conv2d(32, 64, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        initialise(conv, "kaiming", slope)
    assert conv.weight.std().item() == pytest.approx((2 / (1 + slope**2) / (32 * 9)) ** 0.5, rel=0.03)
    assert not conv.bias.any()


def test_the_discriminators_weights_fit_its_leaky_activation() -> None:
    net = make(DiscriminatorSpec(filters=32, spectral_norm=False, init="kaiming"))
    widest = max((module for module in net.modules() if isinstance(module, nn.Conv2d)), key=parameters)
    assert widest.weight.std().item() == pytest.approx((2 / 1.04 / (128 * 16)) ** 0.5, rel=0.005)


def test_kaiming_blocks_start_near_the_identity() -> None:
    net = make(replace(SMALL, filters=16, downsamplings=0))
    block = net.body[4]
    first, second = (module.weight.std().item() for module in block.body if isinstance(module, nn.Conv2d))
    assert second == pytest.approx(0.1 * first, rel=0.1)


def test_weights_come_from_the_seed() -> None:
    one, again, other = (make(SMALL, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["body.1.weight"], other["body.1.weight"])


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (GeneratorSpec, {"filters": 0}, "at least 1"),
        (GeneratorSpec, {"blocks": -1}, "at least"),
        (
            GeneratorSpec,
            {"dilations": (1, 2)},
            r"dilations=\[1, 2\]; must be one positive number, or one per block",
        ),
        (GeneratorSpec, {"dilations": (0,)}, "positive"),
        (GeneratorSpec, {"dilations": ()}, "one per block"),
        (GeneratorSpec, {"kernel": 4}, "kernel=4; must be odd"),
        (GeneratorSpec, {"dropout": 1.0}, r"dropout=1\.0; must be at least 0 and less than 1"),
        (DiscriminatorSpec, {"layers": 0}, "at least 1"),
        (DiscriminatorSpec, {"sigma_px": 0.0}, "sigma_px=0.0; must be positive"),
        (DiscriminatorSpec, {"sigma_px": float("nan")}, "sigma_px=nan; must be positive"),
        (DiscriminatorSpec, {"gain": 0.0}, "gain=0.0; must be positive, or auto"),
    ],
)
def test_specifications_that_cannot_be_built_are_refused(kind: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**changes)
