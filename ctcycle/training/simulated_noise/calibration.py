"""Calibrates simulated noise without pairs: noise spectra of the flattest patches of the two domains.

The power that low-dose patches have beyond full-dose patches is the noise that a lower dose adds. The ratio of that
power to the power of the simulated noise gives the filter by frequency, and its inverse transform the kernel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.errors import SeriesError

Slices = Sequence[NDArray[np.int16]]
Spectrum = NDArray[np.float64]

PATCH_PX = 32
_STRIDE_PX = 16
_SMOOTH_PX = 3.0
_TISSUE_HU = (-50.0, 150.0)
_MOST_SLICES, _PER_SLICE, _MOST_PATCHES = 256, 4, 512
ANATOMY_RINGS = 3
"""Lowest rings of the spectrum, in which anatomy outweighs the noise."""


@dataclass(frozen=True)
class Place:
    """Position of a flat patch.

    Attributes:
        index: number of the slice.
        row, column: first pixel.
        flatness_hu: standard deviation of the smoothed image in the patch.
    """

    index: int
    row: int
    column: int
    flatness_hu: float

    def cut(self, image: NDArray[np.number]) -> NDArray[np.float64]:
        """Return the patch of a slice (H, W)."""
        return image[self.row : self.row + PATCH_PX, self.column : self.column + PATCH_PX].astype(np.float64)


def flat_places(slices: Slices) -> list[Place]:
    """Return the flattest soft-tissue patches of up to 256 evenly spaced slices: at most four per slice, half of all.

    The limit per slice keeps quiet slices, whose noise adds little to the flatness, from being preferred.

    Args:
        slices: (H, W) each, HU.

    Raises:
        SeriesError: there is no patch of soft tissue.
    """
    found: list[Place] = []
    for index in np.unique(np.linspace(0, len(slices) - 1, min(_MOST_SLICES, len(slices))).astype(int)):
        found += sorted(tissue_places(int(index), slices[index]), key=lambda place: place.flatness_hu)[:_PER_SLICE]
    if not found:
        raise SeriesError(
            "calibration: no flat patch of soft tissue; set simulated_noise.calibrate=false and the level by hand"
        )
    found.sort(key=lambda place: place.flatness_hu)
    return found[: min(_MOST_PATCHES, max(1, len(found) // 2))]


def tissue_places(index: int, image: NDArray[np.int16]) -> list[Place]:
    """Return the patches of soft tissue of slice number ``index``, (H, W) in HU; they overlap by half."""
    hu = image.astype(np.float64)
    smooth = ndimage.gaussian_filter(hu, _SMOOTH_PX, mode="reflect")
    starts = [range(0, length - PATCH_PX + 1, _STRIDE_PX) for length in hu.shape]
    places = [Place(index, row, column, 0.0) for row in starts[0] for column in starts[1]]
    inside = [place for place in places if _TISSUE_HU[0] < place.cut(smooth).mean() < _TISSUE_HU[1]]
    return [Place(index, place.row, place.column, float(place.cut(smooth).std())) for place in inside]


def mean_power(patches: Sequence[NDArray[np.float64]]) -> Spectrum:
    """Return the mean noise power of patches (32, 32) by ring of frequency, in HU² per frequency cell.

    A quadratic surface is subtracted, and a Hann window applied. Ring r has r cycles per patch; the last is Nyquist's.
    """
    hann = np.hanning(PATCH_PX + 1)[:-1]
    window = np.outer(hann, hann)
    window /= np.sqrt((window**2).mean())
    flat = _without_surface(np.stack(patches)) * window
    power = (np.abs(np.fft.fft2(flat)) ** 2).mean(0) / PATCH_PX**2
    rings = _ring_numbers()
    sums = np.bincount(rings.ravel(), power.ravel())
    return np.asarray(sums / np.bincount(rings.ravel()))[: PATCH_PX // 2 + 1]


def _ring_numbers() -> NDArray[np.int64]:
    along = np.fft.fftfreq(PATCH_PX) * PATCH_PX
    return np.asarray(np.rint(np.hypot(along[:, None], along)), np.int64)


def _without_surface(patches: NDArray[np.float64]) -> NDArray[np.float64]:
    along = np.linspace(-1, 1, PATCH_PX)
    y, x = (axis.ravel() for axis in np.meshgrid(along, along, indexing="ij"))
    basis, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1))
    flat = patches.reshape(len(patches), -1)
    return np.asarray(flat - (flat @ basis) @ basis.T).reshape(patches.shape)


def calibrate(low: Slices, full: Slices, noise: Callable[[int], NDArray[np.int16]], side: int) -> NDArray[np.float32]:
    """Return the kernel that makes simulated noise like the noise that low dose has beyond full dose.

    Args:
        low: low-dose slices (H, W), HU.
        full: full-dose slices of other patients.
        noise: returns simulated noise of a full-dose slice.
        side: side of the kernel, odd.

    Returns:
        (side, side), to be convolved with the simulated noise.

    Raises:
        SeriesError: a domain has no flat soft tissue, or the low-dose domain is not noisier than the full-dose one.
    """
    places = flat_places(full)
    power_low = mean_power([place.cut(low[place.index]) for place in flat_places(low)])
    power_full = mean_power([place.cut(full[place.index]) for place in places])
    power_noise = mean_power([place.cut(noise(place.index)) for place in places])
    gain = transfer(power_low, power_full, power_noise)
    if not gain.any():
        raise SeriesError(
            "calibration: the low-dose domain is not noisier than the full-dose domain; check the doses in the "
            "manifest, and use one reconstruction kernel (data.kernel)"
        )
    return kernel_of(gain, side)


def transfer(low: Spectrum, full: Spectrum, noise: Spectrum) -> Spectrum:
    """Return the gain by ring, ``sqrt(max(low - full, 0) / noise)``, smoothed over three rings.

    The lowest three rings are replaced by the mean of the next two, since anatomy outweighs the noise there.
    """
    gain = np.sqrt(np.maximum(low - full, 0) / np.maximum(noise, 1e-12))
    gain[:ANATOMY_RINGS] = gain[ANATOMY_RINGS : ANATOMY_RINGS + 2].mean()
    return np.asarray(np.convolve(np.pad(gain, 1, mode="edge"), np.full(3, 1 / 3), mode="valid"))


def kernel_of(gain: Spectrum, side: int) -> NDArray[np.float32]:
    """Return the isotropic, symmetric kernel (side, side) with a gain given by ring."""
    along = np.fft.fftfreq(PATCH_PX) * PATCH_PX
    response = np.interp(np.hypot(along[:, None], along), np.arange(len(gain)), gain)
    whole = np.fft.fftshift(np.fft.ifft2(response).real)
    half = min(side // 2, PATCH_PX // 2 - 1)
    middle = slice(PATCH_PX // 2 - half, PATCH_PX // 2 + half + 1)
    return np.pad(whole[middle, middle], side // 2 - half).astype(np.float32)
