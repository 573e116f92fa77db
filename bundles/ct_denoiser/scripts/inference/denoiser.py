# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Apply a trained generator to slices in HU."""

from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from typing import Any

import numpy as np
import torch
from monai.inferers.inferer import Inferer, SimpleInferer, SlidingWindowInferer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.ct.hounsfield import HUWindow, MuScale
from scripts.errors import ConfigError, SeriesError

MULTIPLE = 32
"""Images are padded to a multiple of this many pixels, which suits up to five down-samplings."""

MAX_STRENGTH = 2.0

_SIGMAS = 16  # width of a tile in standard deviations of its Gaussian weights


def resolve_device(name: str) -> torch.device:
    """Return the device ``name``; "auto" selects a GPU if there is one.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = torch.device(name)
    if not available[device.type] or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ConfigError(f"device={name}: not available on this machine; use auto or cpu")
    return device


FLIPS = ((), (-2,), (-1,), (-2, -1))
"""Axes to flip: none, rows, columns, both."""


class FlipAverage(Inferer):
    """Averages the outputs for four flips of a slice: slightly more accurate, at four times the cost.

    Args:
        inferer: applies the network to each flipped slice.
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Apply ``network`` to four flips of images (N, C, H, W) and return the mean."""
        outputs = [self.inferer(inputs.flip(axes), network, *args, **kwargs).flip(axes) for axes in FLIPS]
        return torch.stack(outputs).mean(0)


def make_inferer(tile: int = 0, *, average_flips: bool = False) -> Inferer:
    """Return an inferer for whole slices, or for square tiles that overlap by a quarter and are blended.

    Tiles bound the memory per slice. Near its edges a tile's output differs from that of the whole slice, so Gaussian
    weights favour the tile that covers more of the surroundings. We set the weights ourselves: MONAI's never fall below
    a thousandth of the maximum, which leaves visible edges where four tiles meet. For a quarter-dose slice and tiles of
    128 px these edges reach 107 HU; with our weights they stay below 0.01 HU.

    Args:
        tile: side of a tile in pixels, a multiple of 32 and at least 64, so that tiles start on the grid of networks
            with up to three down-samplings; 0 for whole slices.
        average_flips: whether to average over four flips, see `FlipAverage`.

    Raises:
        ConfigError: the tile size is invalid.
    """
    if average_flips:
        return FlipAverage(make_inferer(tile))
    if tile == 0:
        return SimpleInferer()
    if tile < 2 * MULTIPLE or tile % MULTIPLE:
        raise ConfigError(f"tile={tile}: must be 0 (whole slices) or a multiple of {MULTIPLE}, at least {2 * MULTIPLE}")
    inferer = SlidingWindowInferer((tile, tile), overlap=0.25, mode="gaussian", padding_mode="replicate")
    weights = torch.exp(-0.5 * ((torch.arange(tile) - (tile - 1) / 2) * (_SIGMAS / tile)) ** 2)
    inferer.roi_weight_map = weights[:, None] * weights
    return inferer


_MU = MuScale()


class Denoiser:
    """Denoises slices of any size, in HU.

    Args:
        generator: maps (N, 1, H, W) to the same shape in the network's range; not copied, set to evaluation mode.
        window: the HU window used in training.
        device: the device to run on.
        inferer: applies the generator to a slice, see `make_inferer`; whole slices by default.
        strength: factor of the correction, from 0 (none) to 2; 1 as trained.
        mu: attenuation of water and air in 1/mm used in training, for series that hold attenuation.

    Raises:
        ConfigError: the strength is out of range.
    """

    def __init__(
        self,
        generator: nn.Module,
        window: HUWindow,
        device: torch.device,
        *,
        inferer: Inferer | None = None,
        strength: float = 1.0,
        mu: MuScale = _MU,
    ) -> None:
        if not 0 <= strength <= MAX_STRENGTH:
            raise ConfigError(f"strength={strength}: must be between 0 (no change) and {MAX_STRENGTH:g}")
        self.generator = generator.to(device).eval()
        self.window, self.device, self.mu = window, device, mu
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.strength = strength

    @torch.inference_mode()
    def correction(self, hu: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the correction to add to one or more slices, in HU, float32 of the same shape.

        It is 0 for values outside the window, which the network does not see.

        Args:
            hu: (H, W) or (S, H, W), finite.

        Raises:
            SeriesError: the device runs out of memory.
        """
        slices = torch.from_numpy(np.ascontiguousarray(hu, dtype=np.float32)).reshape(-1, 1, *hu.shape[-2:])
        try:
            parts = [self._correct(image[None].to(self.device)).cpu() for image in slices]
        except torch.OutOfMemoryError as error:
            raise SeriesError(
                f"slices of {hu.shape[-2]} x {hu.shape[-1]} px: too large for the memory of {self.device}; "
                "use (smaller) tiles or another device"
            ) from error
        return torch.cat(parts).reshape(hu.shape).numpy()

    def __call__(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the denoised slice or slices in HU, of the same shape."""
        return hu + self.correction(hu)

    def uncertainty(self, hu: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return how much the result depends on the slice's orientation, a hint at the network's uncertainty.

        Args:
            hu: (H, W), finite.

        Returns:
            (H, W) float32, HU: standard deviation of the denoised slice over four flips: none, vertical, horizontal
            and both.
        """
        unaveraged = copy(self)
        unaveraged.inferer = self.inferer.inferer if isinstance(self.inferer, FlipAverage) else self.inferer
        corrections = [np.flip(unaveraged.correction(np.flip(hu, axes)), axes) for axes in FLIPS]
        spread: NDArray[np.float32] = np.std(corrections, axis=0)
        return spread

    def _correct(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        values = self.window.normalise(image)
        padding = (0, -columns % MULTIPLE, 0, -rows % MULTIPLE)
        padded = F.pad(values, padding, mode="replicate") if any(padding) else values
        change: Tensor = self.inferer(padded, self._network_change)[..., :rows, :columns]
        inside = image == self.window.clip(image)
        return change * (self.window.hu_per_unit * self.strength) * inside

    def _network_change(self, values: Tensor) -> Tensor:
        """Return the change made by the network, in its range; if it is zero, blended tiles of it are exactly zero."""
        half = torch.autocast(self.device.type, dtype=torch.float16) if self.device.type == "cuda" else nullcontext()
        with half:
            output: Tensor = self.generator(values)
        return output.float() - values
