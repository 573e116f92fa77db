# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The ResNet generator, built from its spec.

Images are (N, C, H, W) in the network's range (see `ctcycle.ct.hounsfield`). ``torch.nn.InstanceNorm2d`` is avoided:
for a batch of one image its input gradient is wrong on a CPU if the incoming gradient is channels-last (torch 2.13).
``GroupNorm`` with one channel per group is mathematically identical, correct and faster.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.networks.layers import initialise, norm_layer
from scripts.networks.specs import GeneratorSpec

_FIRST, _SAMPLING = 4, 3
"""Number of layers of the first convolution, and of one down- or up-sampling."""


def _conv(spec: GeneratorSpec, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> list[nn.Module]:
    """Return size-preserving reflection padding, a convolution (without bias before a norm) and a norm."""
    bias = spec.norm == "none"
    conv = nn.Conv2d(inputs, outputs, kernel, dilation=dilation, bias=bias)
    return [nn.ReflectionPad2d(dilation * (kernel // 2)), conv, norm_layer(spec.norm, outputs)]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions added to their input; no activation after the sum (He et al. 2016, Johnson et al. 2016)."""

    def __init__(self, spec: GeneratorSpec, channels: int, dilation: int) -> None:
        super().__init__()
        dropout = [nn.Dropout(spec.dropout)] if spec.dropout else []
        first = [*_conv(spec, channels, channels, 3, dilation), nn.ReLU(inplace=True), *dropout]
        self.body = nn.Sequential(*first, *_conv(spec, channels, channels, 3, dilation))

    def forward(self, features: Tensor) -> Tensor:
        """Add the block's residual to features (N, C, H, W)."""
        result: Tensor = self.body(features).add_(features)
        return result


class ResNetGenerator(nn.Module):
    """ResNet generator: images (N, in_channels, H, W) to (N, 1, H, W) of the same H and W.

    H and W may be any size: images that the down-samplings do not divide are padded internally and cropped afterwards.

    Args:
        spec: the architecture.
        noise_channel: add a second input channel, which the caller fills with noise; the skip connection ignores it.
    """

    def __init__(self, spec: GeneratorSpec, *, noise_channel: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.in_channels = 2 if noise_channel else 1
        wide = spec.filters * 2**spec.downsamplings
        dilations = spec.dilations * spec.blocks if len(spec.dilations) == 1 else spec.dilations
        self.body = nn.Sequential(
            *_conv(spec, self.in_channels, spec.filters, spec.kernel),
            nn.ReLU(inplace=True),
            *(layer for level in range(spec.downsamplings) for layer in _down(spec, spec.filters * 2**level)),
            *(ResidualBlock(spec, wide, dilation) for dilation in dilations),
            *(layer for level in range(spec.downsamplings) for layer in _up(spec, wide // 2**level)),
            nn.ReflectionPad2d(spec.kernel // 2),
            nn.Conv2d(spec.filters, 1, spec.kernel),
        )
        self.skip = nn.Conv2d(1, 1, 1) if spec.residual == "conv1x1" else nn.Identity()
        initialise(self, spec.init)
        self._start_near_identity()

    def forward(self, image: Tensor) -> Tensor:
        """Translate images (N, in_channels, H, W) in the network's range to (N, 1, H, W)."""
        rows, columns = image.shape[-2:]
        multiple = 2**self.spec.downsamplings
        right, bottom = -columns % multiple, -rows % multiple
        padded = F.pad(image, (0, right, 0, bottom), mode="replicate") if right or bottom else image
        change = self._change(padded)[..., :rows, :columns]
        if self.spec.activation == "tanh_before_sum":
            change = change.tanh()
        if self.spec.residual != "none":
            change = change + self.skip(image[:, :1])
        return change.tanh() if self.spec.activation == "tanh_after_sum" else change

    def _change(self, image: Tensor) -> Tensor:
        """Return the body's output; with skips, features of the same resolution are added on the way up."""
        levels = self.spec.downsamplings
        if not (self.spec.skips and levels):
            result: Tensor = self.body(image)
            return result
        before_down = {_FIRST + _SAMPLING * level for level in range(levels)}
        after_up = {len(self.body) - 3 - _SAMPLING * level for level in range(levels)}
        kept = []
        for number, layer in enumerate(self.body):
            if number in before_down:
                kept.append(image)
            image = layer(image)
            if number in after_up:
                image = image + kept.pop()
        return image

    @torch.no_grad()
    def _start_near_identity(self) -> None:
        if self.spec.init == "kaiming" and self.spec.norm == "none":
            for block in (m for m in self.modules() if isinstance(m, ResidualBlock)):
                block.body[-2].weight.mul_(0.1)  # type: ignore[operator]  # the block's second convolution
        if self.spec.zero_last:
            nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]  # the bias is already zero


def _down(spec: GeneratorSpec, channels: int) -> list[nn.Module]:
    bias = spec.norm == "none"
    conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=bias)
    return [conv, norm_layer(spec.norm, 2 * channels), nn.ReLU(inplace=True)]


def _up(spec: GeneratorSpec, channels: int) -> list[nn.Module]:
    bias = spec.norm == "none"
    conv = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)
    return [conv, norm_layer(spec.norm, channels // 2), nn.ReLU(inplace=True)]
