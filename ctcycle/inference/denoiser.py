"""A trained generator as a function of HU: slices in, the correction in HU out."""

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

from ctcycle.ct.hounsfield import MU_WATER, HUWindow
from ctcycle.errors import ConfigError, SeriesError

MULTIPLE = 32
"""Images are padded to multiples of so many pixels: networks with up to five down-samplings take any size."""

MAX_STRENGTH = 2.0

_SIGMAS = 16  # standard deviations of the weights that a tile is wide


def resolve_device(name: str) -> torch.device:
    """The device called ``name``; "auto" takes a GPU where there is one.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = torch.device(name)
    if not available[device.type] or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ConfigError(f"device '{name}': not on this machine; use auto or cpu")
    return device


FLIPS = ((), (-2,), (-1,), (-2, -1))
"""Axes to flip: none, upside down, mirrored, both."""


class FlipAverage(Inferer):
    """The mean over four flips of a slice: networks trained on flips err a little less, at four times the cost.

    Args:
        inferer: how each of them goes through the network.
    """

    def __init__(self, inferer: Inferer) -> None:
        super().__init__()
        self.inferer = inferer

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """(N, C, H, W) through ``network``, four times."""
        outputs = [self.inferer(inputs.flip(axes), network, *args, **kwargs).flip(axes) for axes in FLIPS]
        return torch.stack(outputs).mean(0)


def make_inferer(tile: int = 0, *, average_flips: bool = False) -> Inferer:
    """How slices go through the network: whole, or in square tiles that overlap by a quarter and are blended.

    Tiles bound the memory that a slice needs. What a network computes near a tile's edge is not what it computes from
    the whole slice: Gaussian weights let the tile decide that sees more of the surroundings. They are ours, since
    MONAI's never fall below a thousandth of the highest, so that edges shine through where four tiles meet: by up to
    107 HU in a quarter-dose slice and tiles of 128 px, and by less than 0.01 HU with these.

    Args:
        tile: their side in pixels, a multiple of 32, at least 64: so that they begin on the grid of networks with up to
            three down-samplings; 0 for whole slices.
        average_flips: whether to take the mean over four flips, see `FlipAverage`.

    Raises:
        ConfigError: tiles of another size.
    """
    if average_flips:
        return FlipAverage(make_inferer(tile))
    if tile == 0:
        return SimpleInferer()
    if tile < 2 * MULTIPLE or tile % MULTIPLE:
        raise ConfigError(f"tile {tile}: must be 0 (whole slices), or a multiple of {MULTIPLE} from {2 * MULTIPLE} on")
    inferer = SlidingWindowInferer((tile, tile), overlap=0.25, mode="gaussian", padding_mode="replicate")
    weights = torch.exp(-0.5 * ((torch.arange(tile) - (tile - 1) / 2) * (_SIGMAS / tile)) ** 2)
    inferer.roi_weight_map = weights[:, None] * weights
    return inferer


class Denoiser:
    """Low dose to full dose, in HU, on slices of any size.

    Args:
        generator: (N, 1, H, W) in the network's range to the same; taken as it is, in evaluation mode.
        window: what it was trained with.
        device: where it runs.
        inferer: how a slice goes through it, see `make_inferer`; whole slices by default.
        strength: factor of the correction, from 0 (none) to 2; 1 is what was trained.
        mu_water: attenuation of water in 1/mm that its training took, for series that hold attenuation.

    Raises:
        ConfigError: another strength.
    """

    def __init__(
        self,
        generator: nn.Module,
        window: HUWindow,
        device: torch.device,
        *,
        inferer: Inferer | None = None,
        strength: float = 1.0,
        mu_water: float = MU_WATER,
    ) -> None:
        if not 0 <= strength <= MAX_STRENGTH:
            raise ConfigError(f"strength {strength}: must be from 0 (nothing is changed) to {MAX_STRENGTH:g}")
        self.generator = generator.to(device).eval()
        self.window, self.device, self.mu_water = window, device, mu_water
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.strength = strength

    @torch.inference_mode()
    def correction(self, hu: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """What is to be added to a slice or to slices, in HU, float32 of the same shape.

        It is 0 wherever a value lies outside the window: the network did not see that value.

        Args:
            hu: (H, W) or (S, H, W), finite.

        Raises:
            SeriesError: the device has not enough memory.
        """
        slices = torch.from_numpy(np.ascontiguousarray(hu, dtype=np.float32)).reshape(-1, 1, *hu.shape[-2:])
        try:
            parts = [self._correct(image[None].to(self.device)).cpu() for image in slices]
        except torch.OutOfMemoryError as error:
            raise SeriesError(
                f"slices of {hu.shape[-2]} x {hu.shape[-1]} px: too large for the memory of {self.device}; "
                "denoise in (smaller) tiles, or take another device"
            ) from error
        return torch.cat(parts).reshape(hu.shape).numpy()

    def __call__(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """The denoised slice or slices in HU, of the same shape."""
        return hu + self.correction(hu)

    def uncertainty(self, hu: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """How much the result depends on the slice's orientation: a hint at what the network is unsure of.

        Args:
            hu: (H, W), finite.

        Returns:
            (H, W) float32, HU: standard deviation of the denoised slice over the slice as it is, upside down, mirrored,
            and both.
        """
        one = copy(self)
        one.inferer = self.inferer.inferer if isinstance(self.inferer, FlipAverage) else self.inferer
        corrections = [np.flip(one.correction(np.flip(hu, axes)), axes) for axes in FLIPS]
        spread: NDArray[np.float32] = np.std(corrections, axis=0)
        return spread

    def _correct(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        values = self.window.normalise(image)
        padding = (0, -columns % MULTIPLE, 0, -rows % MULTIPLE)
        padded = F.pad(values, padding, mode="replicate") if any(padding) else values
        change: Tensor = self.inferer(padded, self._change)[..., :rows, :columns]
        inside = image == self.window.clip(image)
        return change * (self.window.hu_per_unit * self.strength) * inside

    def _change(self, values: Tensor) -> Tensor:
        """What the network changes, in its range: blended tiles of nothing are nothing, to the last bit."""
        half = torch.autocast(self.device.type, dtype=torch.float16) if self.device.type == "cuda" else nullcontext()
        with half:
            output: Tensor = self.generator(values)
        return output.float() - values
