"""Detrended patches and averages of their spectra over rings of equal frequency."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TREND_TERMS = 6
"""1, x, y, x², xy, y²: what `detrend` removes. White noise keeps the share (N² - 6) / N² of its variance."""

MIN_SIDE_PX = 8


@dataclass(frozen=True)
class Rings:
    """Rings of one frequency bin in the discrete spectrum of a square patch.

    Attributes:
        index: (N, N) int, the ring of each bin, in the order of `numpy.fft.fft2`.
        bins: (R) int, how many bins each ring has; a bin and its mirror image count as two.
        frequency_per_px: (R), mean frequency of each ring; the rings above 0.5 are those of the corners.
    """

    index: NDArray[np.int64]
    bins: NDArray[np.int64]
    frequency_per_px: NDArray[np.float64]

    def mean(self, spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average a spectrum (N, N) over each ring: (R)."""
        return np.asarray(self.total(spectrum) / self.bins, dtype=np.float64)

    def total(self, spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum a spectrum (N, N) over each ring: (R)."""
        sums = np.bincount(self.index.ravel(), weights=spectrum.ravel())
        return np.asarray(sums, dtype=np.float64)


def radial_frequency(size: int) -> NDArray[np.float64]:
    """Return the frequency of each bin of an (N, N) spectrum in cycles per pixel, in the order of `numpy.fft.fft2`."""
    along = np.fft.fftfreq(size)
    return np.asarray(np.hypot(along[:, None], along), dtype=np.float64)


def spectrum_rings(size: int) -> Rings:
    """Divide the spectrum of a patch of ``size`` pixels a side into rings that are one bin, 1/size, wide."""
    frequency = radial_frequency(size)
    index = np.rint(frequency * size).astype(np.int64)
    bins = np.bincount(index.ravel())
    return Rings(index, bins, np.bincount(index.ravel(), weights=frequency.ravel()) / bins)


def detrend(patches: NDArray[np.floating]) -> NDArray[np.float64]:
    """Subtract from each patch its own least-squares polynomial of second order.

    Args:
        patches: (K, N, N), any unit.

    Returns:
        (K, N, N) float64.

    Raises:
        ValueError: no patches, patches that are not square or smaller than `MIN_SIDE_PX`, or values not finite.
    """
    _check_patches(patches)
    flat = patches.astype(np.float64).reshape(len(patches), -1)
    trend = _trend_basis(patches.shape[1])
    rest = flat - (flat @ trend.T) @ trend
    return rest.reshape(patches.shape)


def detrended_spectra(patches: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Return the discrete Fourier transforms of the detrended patches: (K, N, N), in the unit of the patches."""
    return np.asarray(np.fft.fft2(detrend(patches)), dtype=np.complex128)


def mean_power(first: NDArray[np.complex128], second: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the mean (cross) power of patches by bin, (N, N) in HU²; the power of one image sums to its variance.

    Only the real part is kept: rings hold each bin with its mirror image, where the imaginary part is opposite.

    Args:
        first: (K, N, N), from `detrended_spectra`.
        second: (K, N, N), the same image for its power, or another one for the power they share.
    """
    power: NDArray[np.float64] = (first * second.conj()).real.mean(0) / first.shape[-1] ** 4
    return power


def _check_patches(patches: NDArray[np.floating]) -> None:
    square = patches.ndim == 3 and patches.shape[1] == patches.shape[2]
    if not square or len(patches) == 0 or patches.shape[1] < MIN_SIDE_PX:
        raise ValueError(
            f"patches: shape {patches.shape}; at least one patch, (K, N, N) with N >= {MIN_SIDE_PX}, is needed"
        )
    if not np.isfinite(patches).all():
        raise ValueError("patches: some values are not finite; choose windows inside the image")


def _trend_basis(size: int) -> NDArray[np.float64]:
    """Orthonormal polynomials of second order on a square: (6, N²)."""
    y, x = (np.mgrid[:size, :size] / (size - 1) * 2 - 1).reshape(2, -1)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    return np.asarray(np.linalg.qr(terms)[0].T, dtype=np.float64)
