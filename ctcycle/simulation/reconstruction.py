"""Filtered back-projection with named kernels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.simulation.projection import view_angles
from ctcycle.simulation.settings import Kernel

_WINDOWS: dict[Kernel, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "soft": lambda frequency: np.cos(np.pi * frequency) ** 2,  # Hann
    "medium": lambda frequency: np.cos(0.8 * np.pi * frequency) ** 2,  # Hann with a cutoff above the Nyquist frequency
    "sharp": np.sinc,  # Shepp-Logan
    "ramp": np.ones_like,
}
"""Window of each kernel, applied to the ramp, by frequency in cycles per detector element: 1 at 0, Nyquist at 0.5."""

_MAX_GAIN = 4.0


def reconstruct(
    line_integrals: NDArray[np.inexact[Any]], pixel_mm: float, size: int, kernel: Kernel
) -> NDArray[np.inexact[Any]]:
    """Return the linear attenuation of a slice from its line integrals.

    The reconstruction is linear without offset, so noise can be reconstructed on its own. A complex sinogram holds two
    scans, in its real and imaginary parts, and takes little longer than one.

    Args:
        line_integrals: (D, views) real or complex, as returned by `ctcycle.simulation.projection.project`.
        pixel_mm: width of a detector element, and side of a pixel.
        size: rows and columns of the slice.
        kernel: ``soft`` is the ramp with a Hann window, ``medium`` with one that is a quarter wider, ``sharp`` the
            Shepp-Logan filter (1974), ``ramp`` the ramp itself.

    Returns:
        (size, size) float32 or complex64, in 1/mm.
    """
    angles = np.deg2rad(view_angles(line_integrals.shape[1]))
    filtered = _filter(line_integrals, kernel)
    elements = np.arange(len(filtered)) - len(filtered) // 2
    along = np.arange(size) - size // 2
    slice_sum = np.zeros((size, size), filtered.dtype)
    for angle, projection in zip(angles, filtered.T, strict=True):
        crossing = along * np.cos(angle) - along[:, None] * np.sin(angle)
        slice_sum += np.interp(crossing, elements, projection, left=0.0, right=0.0)
    mu = slice_sum * (np.pi / len(angles) / pixel_mm)
    return mu.astype(np.complex64 if np.iscomplexobj(mu) else np.float32)


def sharpen(hu: NDArray[np.floating[Any]], kernel: Kernel, before: Kernel = "soft") -> NDArray[np.float32]:
    """Return a slice as if reconstructed with a sharper kernel; its noise is sharpened as well.

    Each spatial frequency is amplified by the ratio of the two kernels' windows, at most fourfold; frequencies above
    0.5 cycles per pixel, which no kernel passes, are unchanged.

    Args:
        hu: (H, W), in HU or any other unit.
        kernel: the sharper kernel; a smoother one changes nothing.
        before: the kernel here that is most similar to the one the slice was reconstructed with.

    Returns:
        (H, W) float32.
    """
    from scipy import fft

    rows, columns = hu.shape
    frequency = np.hypot(fft.fftfreq(rows)[:, None], fft.rfftfreq(columns))
    with np.errstate(divide="ignore"):
        ratio = (_WINDOWS[kernel](frequency) / _WINDOWS[before](frequency)).clip(1.0, _MAX_GAIN)
    gain = np.where(frequency <= 0.5, ratio, 1.0)
    return np.asarray(fft.irfft2(fft.rfft2(hu.astype(np.float64)) * gain, s=hu.shape), dtype=np.float32)


def _filter(line_integrals: NDArray[np.inexact[Any]], kernel: Kernel) -> NDArray[np.inexact[Any]]:
    """Convolve each projection with the kernel, without wrap-around, in double precision."""
    from scipy import fft

    length = fft.next_fast_len(2 * len(line_integrals))
    response = _ramp(length) * _WINDOWS[kernel](fft.fftfreq(length))
    spectrum = fft.fft(line_integrals, length, axis=0) * response[:, None]
    filtered: NDArray[np.complexfloating[Any]] = fft.ifft(spectrum, axis=0)[: len(line_integrals)]
    return filtered if np.iscomplexobj(line_integrals) else filtered.real


def _ramp(length: int) -> NDArray[np.float64]:
    """Return the ramp filter from its band-limited impulse response, which keeps the mean (Kak & Slaney 1988, 3.61)."""
    from scipy import fft

    taps = np.zeros(length)
    taps[0] = 0.25
    distance = length * np.abs(fft.fftfreq(length))
    odd = distance.round() % 2 == 1
    taps[odd] = -1.0 / (np.pi * distance[odd]) ** 2
    return np.asarray(fft.fft(taps).real)
