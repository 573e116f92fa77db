# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Apply a trained generator to slices in HU."""

import hashlib
from contextlib import nullcontext
from copy import copy
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.ct.hounsfield import HUWindow, MuScale
from scripts.errors import ConfigError, SeriesError
from scripts.inference.inferers import FLIPS, MULTIPLE, FlipAverage, Inferer, described, whole_slices
from scripts.networks.layers import fast_layout

MAX_STRENGTH = 2.0


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


_MU = MuScale()


class Denoiser:
    """Denoises slices of any size, in HU.

    Args:
        generator: maps (N, 1, H, W) to the same shape in the network's range; not copied, set to evaluation mode.
        window: the HU window used in training.
        device: the device to run on.
        inferer: applies the generator to a slice; whole slices by default.
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
        self.layout = fast_layout(generator)
        self.generator = generator.to(device).to(memory_format=self.layout).eval()  # type: ignore[call-overload]
        self.window, self.device, self.mu = window, device, mu
        self.inferer = whole_slices if inferer is None else inferer
        self.strength = _checked_strength(strength)

    def with_strength(self, strength: float) -> Self:
        """Return the same denoiser with another strength; the network is shared.

        Raises:
            ConfigError: the strength is out of range.
        """
        other = copy(self)
        other.strength = _checked_strength(strength)
        return other

    def options(self) -> dict[str, Any]:
        """Return everything but the weights and the device that determines the result, as plain data."""
        network = hashlib.sha256(str(self.generator).encode()).hexdigest()
        window = [float(self.window.low), float(self.window.high), self.window.clip_upper, self.window.scale]
        options = {"strength": float(self.strength), **described(self.inferer), "hu_window": window}
        return {**options, "network": network, "mu_water": float(self.mu.water), "mu_air": float(self.mu.air)}

    @torch.inference_mode()
    def correction(self, hu: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the correction to add to one or more slices, in HU, float32 of the same shape.

        It is 0 for values outside the window, which the network does not see.

        Args:
            hu: (H, W) or (S, H, W), finite.

        Raises:
            SeriesError: the device runs out of memory.
        """
        if not self.strength:
            return np.zeros(hu.shape, dtype=np.float32)
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
            output: Tensor = self.generator(values.contiguous(memory_format=self.layout))
        return output.float() - values


def _checked_strength(strength: float) -> float:
    if not 0 <= strength <= MAX_STRENGTH:
        raise ConfigError(f"strength={strength}: must be between 0 (no change) and {MAX_STRENGTH:g}")
    return strength
