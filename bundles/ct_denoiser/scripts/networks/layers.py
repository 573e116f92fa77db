# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Layers and weight initialisation shared by generators and discriminators."""

import math

from torch import nn


def norm_layer(kind: str, channels: int) -> nn.Module:
    """Return the normalisation layer ``kind`` (batch, instance, group, none) for ``channels`` channels."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":
        return nn.GroupNorm(channels, channels, affine=False)
    if kind == "group":
        return nn.GroupNorm(math.gcd(channels, 32), channels)
    return nn.Identity()


def initialise(net: nn.Module, init: str, slope: float = 0.0) -> None:
    """Initialise all convolutions and norms from torch's global random generator, which the caller seeds.

    Args:
        net: changed in place.
        init: "normal": N(0, 0.02), norms N(1, 0.02) (Zhu et al. 2017); "kaiming": He et al. 2015, fan-in.
        slope: negative slope of the leaky ReLU that follows, for "kaiming".
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if init == "kaiming":
                nn.init.kaiming_normal_(module.weight, a=slope)
            else:
                nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
