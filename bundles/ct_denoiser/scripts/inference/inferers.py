# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""How a network is applied to a slice: whole or in tiles, once or averaged over flips.

MONAI takes four seconds to import. It is imported where tiles are asked for, since whole slices need none of it.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scripts.errors import ConfigError

if TYPE_CHECKING:
    from monai.inferers.inferer import SlidingWindowInferer

MULTIPLE = 32
"""Images are padded to a multiple of this many pixels, which suits up to five down-samplings."""

LARGEST_TILE = 8192
"""Side of the largest slice that is read, in pixels."""

FLIPS = ((), (-2,), (-1,), (-2, -1))
"""Axes to flip: none, rows, columns, both."""

Inferer = Callable[..., Tensor]
"""Takes images (N, C, H, W) and the network, and returns the network's output; those of MONAI fit."""

_SIGMAS = 16  # width of a tile in standard deviations of its Gaussian weights


def whole_slices(inputs: Tensor, network: Callable[..., Tensor]) -> Tensor:
    """Apply ``network`` to images (N, C, H, W) as they are."""
    return network(inputs)


class Tiles:
    """Applies a network to square tiles that overlap by a quarter, and blends their outputs.

    Tiles bound the memory per slice. Near its edges a tile's output differs from that of the whole slice, so Gaussian
    weights favour the tile that covers more of the surroundings. We set the weights ourselves: MONAI's never fall below
    a thousandth of the maximum, which leaves visible edges where four tiles meet. For a quarter-dose slice and tiles of
    128 px these edges reach 107 HU; with our weights they stay below 0.01 HU.

    Args:
        side: of a tile in pixels.

    Raises:
        ConfigError: the size is invalid.
    """

    def __init__(self, side: int) -> None:
        if not 2 * MULTIPLE <= side <= LARGEST_TILE or side % MULTIPLE:
            raise ConfigError(
                f"tile={side}: must be 0 (whole slices) or a multiple of {MULTIPLE}, from {2 * MULTIPLE} to "
                f"{LARGEST_TILE}"
            )
        self.side = side

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Apply ``network`` to the tiles of images (N, C, H, W); to the whole of images that fit into one tile."""
        if max(inputs.shape[-2:]) <= self.side:
            return whole_slices(inputs, network)
        output: Tensor = self._windows(inputs, network)  # type: ignore[assignment]  # a network has one output
        return output

    @cached_property
    def _windows(self) -> "SlidingWindowInferer":
        from monai.inferers.inferer import SlidingWindowInferer

        side = self.side
        windows = SlidingWindowInferer((side, side), overlap=0.25, mode="gaussian", padding_mode="replicate")
        weights = torch.exp(-0.5 * ((torch.arange(side) - (side - 1) / 2) * (_SIGMAS / side)) ** 2)
        windows.roi_weight_map = weights[:, None] * weights
        return windows


class FlipAverage:
    """Averages the outputs for four flips of a slice: slightly more accurate, at four times the cost.

    Args:
        inferer: applies the network to each flipped slice.
    """

    def __init__(self, inferer: Inferer) -> None:
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor]) -> Tensor:
        """Apply ``network`` to four flips of images (N, C, H, W) and return the mean."""
        outputs = [self.inferer(inputs.flip(axes), network).flip(axes) for axes in FLIPS]
        return torch.stack(outputs).mean(0)


def make_inferer(tile: int = 0, *, average_flips: bool = False) -> Inferer:
    """Return an inferer for whole slices, or for tiles that are blended, see `Tiles`.

    Args:
        tile: side of a tile in pixels, a multiple of 32 and at least 64, so that tiles start on the grid of networks
            with up to three down-samplings; 0 for whole slices.
        average_flips: whether to average over four flips, see `FlipAverage`.

    Raises:
        ConfigError: the tile size is invalid.
    """
    inferer: Inferer = Tiles(tile) if tile else whole_slices
    return FlipAverage(inferer) if average_flips else inferer


def described(inferer: Inferer) -> dict[str, Any]:
    """Return the options that `make_inferer` was given; of another inferer, also its name."""
    if isinstance(inferer, FlipAverage):
        return {**described(inferer.inferer), "average_flips": True}
    if isinstance(inferer, Tiles):
        return {"tile": inferer.side, "average_flips": False}
    own = {} if inferer is whole_slices else {"inferer": getattr(inferer, "__name__", type(inferer).__name__)}
    return {"tile": 0, "average_flips": False, **own}
