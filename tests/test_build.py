import monai.networks.nets
import monai.transforms
import pytest
import torch
from pydantic import ValidationError

from ctcycle.build import build_component
from ctcycle.config.components import Component
from ctcycle.errors import ConfigError


def component(target: str, **arguments: object) -> Component:
    return Component.model_validate({"_target_": target, **arguments})


def test_a_short_name_is_looked_up_at_home_and_a_full_one_anywhere_allowed() -> None:
    flip = build_component(component("RandFlip", prob=1.0, spatial_axis=0), monai.transforms)
    assert isinstance(flip, monai.transforms.RandFlip)
    assert flip(torch.arange(4).reshape(1, 2, 2)).tolist() == [[[2, 3], [0, 1]]]
    net = build_component(component("monai.networks.nets.UNet", **UNET), monai.transforms)
    assert net(torch.zeros(1, 1, 16, 16)).shape == (1, 1, 16, 16)


UNET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("RandFlop", {}, "'RandFlop': not found; monai.transforms or a full path"),
        ("monai.transforms.RandFlop", {}, "not found"),
        ("monai.networks.nothing.Net", {}, "not found"),
        ("RandFlip", {"probability": 1}, "probability.*arguments given: {'probability': 1}"),
        (
            "torch.nn.Conv2d",
            {"in_channels": 1, "out_channels": 3, "kernel_size": 3, "groups": 2},
            "divisible by groups",
        ),
    ],
)
def test_what_cannot_be_built_is_named(target: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_component(component(target, **arguments), monai.transforms)


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("monai.transforms.utils.optional_import", {"module": "this"}),
        ("ctcycle.atomic.write_text", {"path": "x", "text": "y"}),
        ("ctcycle.run_folder.RunFolder", {"path": "x"}),
        ("utils", {}),
    ],
)
def test_only_networks_and_transforms_are_called(target: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="neither a torch module nor a MONAI transform"):
        build_component(component(target, **arguments), monai.transforms)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "torch.nn",
        "monai.bundle.run",
        "monai.transforms.x._y",
        "a b",
        "",
        "x.",
        "torch.nnx.Y",
    ],
)
def test_names_outside_the_allowed_packages_are_refused_on_reading(target: str) -> None:
    with pytest.raises(ValidationError, match=r"outside the allowed packages|not a dotted name"):
        component(target)


def test_arguments_are_data() -> None:
    part = component("RandFlip", prob="$__import__('os').getcwd()")
    assert part.arguments == {"prob": "$__import__('os').getcwd()"}
    with pytest.raises(ConfigError):
        build_component(part, monai.transforms)
    with pytest.raises(ValidationError):
        Component.model_validate({"prob": 1})
