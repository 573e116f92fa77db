import copy

import monai.networks.nets as monai_nets
import pytest
import torch
from torch import nn

from ctcycle.networks.discriminator import Discriminator
from ctcycle.networks.layers import fast_layout, initialise
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import DiscriminatorSpec, GeneratorSpec

PLAIN = GeneratorSpec(filters=4, blocks=1, norm="none", zero_last=False)


@pytest.mark.parametrize(
    ("net", "layout"),
    [
        (ResNetGenerator(PLAIN), torch.channels_last),
        (ResNetGenerator(GeneratorSpec(filters=4, blocks=1, norm="batch")), torch.channels_last),
        (ResNetGenerator(GeneratorSpec(filters=4, blocks=1, norm="instance")), torch.contiguous_format),
        (ResNetGenerator(GeneratorSpec(filters=4, blocks=1, norm="group")), torch.contiguous_format),
        (Discriminator(DiscriminatorSpec(filters=4, gain=1.0)), torch.channels_last),
        (monai_nets.UNet(2, 1, 1, (4, 8), (2,)), torch.contiguous_format),  # of instance norms
        (nn.Identity(), torch.contiguous_format),
        (nn.Sequential(nn.Conv3d(1, 1, 3)), torch.contiguous_format),
    ],
    ids=["plain", "batch", "instance", "group", "discriminator", "unet", "identity", "3d"],
)
def test_plain_networks_run_in_channels_last(net: nn.Module, layout: torch.memory_format) -> None:
    assert fast_layout(net) == layout


def test_the_layout_changes_no_result() -> None:
    net, image = ResNetGenerator(PLAIN).eval(), torch.randn(2, 1, 40, 36)
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        found = other(image.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, net(image), rtol=1e-4, atol=1e-5)


def test_a_network_without_values_is_left_as_it_is() -> None:
    with torch.device("meta"):
        net = nn.Conv2d(1, 1, 3)
    initialise(net, "kaiming")
    assert net.weight.is_meta
