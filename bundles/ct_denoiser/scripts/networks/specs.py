# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Network architectures as plain data: used by the config schema and built by `ctcycle.networks`.

They are separate from the networks so that a config can be validated without importing torch.
"""

from dataclasses import dataclass
from typing import Literal

Norm = Literal["batch", "instance", "group", "none"]
_MOST_BLOCKS, _MOST_CHANNELS, _MOST_LAYERS = 100, 2048, 12
"""More does not fit into the memory of any machine, or shrinks any patch to nothing."""


@dataclass(frozen=True)
class GeneratorSpec:
    """A ResNet generator (Johnson et al. 2016, as used by Zhu et al. 2017), 1 channel to 1 channel.

    Attributes:
        filters: channels of the first convolution; doubled by every down-sampling.
        blocks: residual blocks.
        downsamplings: number of stride-2 convolutions before, and of transposed convolutions after the blocks.
        dilations: dilation of the convolutions in each block; one value for all blocks, or one per block.
        kernel: kernel size of the first and last convolution.
        skips: add the features before each down-sampling to those after the matching up-sampling, as a U-Net does
            (Ronneberger et al. 2015, which concatenates them).
        norm: normalisation after every convolution but the last; "instance" and "group" keep no running statistics.
        residual: added to the body's output: the input image, a learned 1×1 convolution of it, or nothing.
        activation: none, tanh of the body before the sum, or tanh of the sum.
        dropout: dropout probability inside the blocks.
        init: "normal" draws N(0, 0.02) (Zhu et al. 2017); "kaiming" scales with the fan-in and starts each block near
            the identity.
        zero_last: start the last convolution at zero, so that ``x + net(x)`` starts as the identity.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads a plain dict; the class stays free of it)

    filters: int = 64
    blocks: int = 9
    downsamplings: int = 2
    dilations: tuple[int, ...] = (1,)
    kernel: int = 7
    skips: bool = False
    norm: Norm = "none"
    residual: Literal["identity", "conv1x1", "none"] = "identity"
    activation: Literal["none", "tanh_before_sum", "tanh_after_sum"] = "none"
    dropout: float = 0.0
    init: Literal["normal", "kaiming"] = "normal"
    zero_last: bool = True

    def __post_init__(self) -> None:
        if self.filters < 1 or self.blocks < 0 or self.downsamplings < 0:
            raise ValueError("filters must be at least 1, blocks and downsamplings at least 0")
        if self.blocks > _MOST_BLOCKS or self.filters << min(self.downsamplings, _MOST_BLOCKS) > _MOST_CHANNELS:
            raise ValueError(
                f"filters={self.filters}, downsamplings={self.downsamplings}, blocks={self.blocks}; must be at most "
                f"{_MOST_BLOCKS} blocks of {_MOST_CHANNELS} channels, which double with each down-sampling"
            )
        if len(self.dilations) not in {1, self.blocks} or min(self.dilations, default=1) < 1:
            raise ValueError(f"dilations={list(self.dilations)}; must be one positive number, or one per block")
        if self.kernel % 2 != 1 or self.kernel < 1:
            raise ValueError(f"kernel={self.kernel}; must be odd to preserve the image size")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}; must be at least 0 and less than 1")


@dataclass(frozen=True)
class DiscriminatorSpec:
    """A PatchGAN discriminator (Isola et al. 2017) and its input filter.

    Attributes:
        filters: channels of the first convolution.
        layers: number of stride-2 convolutions; 3 gives the 70×70 PatchGAN.
        norm: normalisation between convolutions. It hides the noise level from the discriminator; see the experiments.
        spectral_norm: bound the gain of every convolution (Miyato et al. 2018).
        view: "image", or "highpass" for only the noise band, ``gain * (x - gaussian(x, sigma))``.
        sigma_px: standard deviation of the Gaussian in pixels, chosen so that the high-pass keeps the noise band.
        gain: factor that scales the filtered noise to a standard deviation of about 1; "auto" measures it on the
            training slices.
        init: as for the generator.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (as above)

    filters: int = 64
    layers: int = 3
    norm: Norm = "none"
    spectral_norm: bool = True
    view: Literal["image", "highpass"] = "highpass"
    sigma_px: float = 3.0
    gain: float | Literal["auto"] = "auto"
    init: Literal["normal", "kaiming"] = "normal"

    def __post_init__(self) -> None:
        if self.filters < 1 or self.layers < 1:
            raise ValueError("filters and layers must be at least 1")
        if self.filters > _MOST_CHANNELS or self.layers > _MOST_LAYERS:
            raise ValueError(f"must have at most {_MOST_CHANNELS} filters and {_MOST_LAYERS} layers")
        if not self.sigma_px > 0:
            raise ValueError(f"sigma_px={self.sigma_px}; must be positive")
        if self.gain != "auto" and not self.gain > 0:
            raise ValueError(f"gain={self.gain}; must be positive, or auto")
