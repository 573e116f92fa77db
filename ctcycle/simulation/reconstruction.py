"""Filtered back-projection with named kernels."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.simulation.projection import view_angles
from ctcycle.simulation.settings import Kernel

Frequency = NDArray[np.float64]

_WINDOWS: dict[Kernel, Callable[[Frequency], Frequency]] = {
    "soft": lambda frequency: np.cos(np.pi * frequency) ** 2,  # Hann
    "medium": lambda frequency: np.cos(0.8 * np.pi * frequency) ** 2,  # Hann with a cutoff above the Nyquist frequency
    "sharp": np.sinc,  # Shepp-Logan
    "ramp": np.ones_like,
}
"""Window of each plain kernel, applied to the ramp, by frequency in cycles per pixel: 1 at 0, Nyquist at 0.5."""

_FITTED: dict[Kernel, tuple[float, float]] = {"b30": (0.318, 2.25), "d45": (0.68, 4.5)}
"""Scale s in cycles/mm and exponent p of each fitted kernel, whose window at frequency f is exp(-(f / s)^p / 2)."""

_FINE = 2
"""Detector elements per pixel of the fitted kernels."""

_MAX_GAIN = 4.0


def elements_per_pixel(kernel: Kernel) -> int:
    """Return how many detector elements a pixel needs for a kernel that passes frequencies above 0.5 cycles a pixel."""
    return _FINE if kernel in _FITTED else 1


def reconstruct(
    line_integrals: NDArray[np.inexact[Any]], pixel_mm: float, size: int, kernel: Kernel, fineness: int = 1
) -> NDArray[np.inexact[Any]]:
    """Return the linear attenuation of a slice from its line integrals.

    The reconstruction is linear without offset, so noise can be reconstructed on its own. A complex sinogram holds two
    scans, in its real and imaginary parts, and takes little longer than one.

    The plain kernels interpolate linearly between detector elements, which multiplies their window by sinc²(f). The
    fitted ones have this undone: they interpolate between half pixels, and their filter is divided by sinc²(f / 2).

    Args:
        line_integrals: (D, views) real or complex, as returned by `ctcycle.simulation.projection.project`.
        pixel_mm: side of a pixel.
        size: rows and columns of the slice.
        kernel: ``soft`` is the ramp with a Hann window, ``medium`` with one that is a quarter wider, ``sharp`` the
            Shepp-Logan filter (1974), ``ramp`` the ramp itself; ``b30`` and ``d45`` are fitted to the noise of Siemens
            B30f and D45f, in cycles/mm.
        fineness: detector elements per pixel, 1 or `elements_per_pixel` of the kernel. With 1, nothing above 0.5 cycles
            a pixel is reconstructed.

    Returns:
        (size, size) float32 or complex64, in 1/mm.
    """
    angles = np.deg2rad(view_angles(line_integrals.shape[1]))
    samples = elements_per_pixel(kernel)
    filtered = _filtered(line_integrals, pixel_mm, kernel, fineness)
    axis = len(line_integrals) // 2 * (samples // fineness)
    elements = (np.arange(len(filtered)) - axis) / samples
    along = np.arange(size) - size // 2
    slice_sum = np.zeros((size, size), filtered.dtype)
    for angle, projection in zip(angles, filtered.T, strict=True):
        crossing = along * np.cos(angle) - along[:, None] * np.sin(angle)
        slice_sum += np.interp(crossing, elements, projection, left=0.0, right=0.0)
    mu = slice_sum * (np.pi * samples / len(angles) / pixel_mm)
    return mu.astype(np.complex64 if np.iscomplexobj(mu) else np.float32)


def reconstruct_many(
    scans: Sequence[NDArray[np.complexfloating[Any]]], pixel_mm: float, size: int, kernel: Kernel, fineness: int = 1
) -> NDArray[np.complex64]:
    """Return what `reconstruct` returns for each of several complex sinograms, in a fraction of the time.

    The scans have the same geometry, so the places where rays are read are computed once. All filtered sinograms are
    held in memory.

    Args:
        scans: K sinograms (D, views), complex.
        pixel_mm: side of a pixel.
        size: rows and columns of the slices.
        kernel: as for `reconstruct`.
        fineness: as for `reconstruct`.

    Returns:
        (K, size, size) complex64, in 1/mm.
    """
    import torch

    views, samples = scans[0].shape[1], elements_per_pixel(kernel)
    elements = len(scans[0]) * (samples // fineness)
    table = np.zeros(
        (views, elements + 2, len(scans)), np.complex64
    )  # a ray beside the detector reads the 0 at its end
    for number, scan in enumerate(scans):
        table[:, 1:-1, number] = _filtered(scan, pixel_mm, kernel, fineness).T
    rays = torch.from_numpy(table.view(np.float32).reshape(views * (elements + 2), -1))
    middle = len(scans[0]) // 2 * (samples // fineness)
    found = np.empty((size, size, len(scans)), np.complex64)
    for row in range(size):
        places, shares = _places(row, size, (views, samples, elements, middle))
        summed = torch.nn.functional.embedding_bag(
            torch.from_numpy(places), rays, mode="sum", per_sample_weights=torch.from_numpy(shares)
        )
        found[row] = summed.numpy().view(np.complex64)
    return found.transpose(2, 0, 1) * np.float32(np.pi * samples / views / pixel_mm)


def _places(row: int, size: int, detector: tuple[int, int, int, int]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return where the rays through the pixels of a row are read from, and with which shares: (size, 2 * views) each.

    Args:
        row: of the slice.
        size: rows and columns of the slice.
        detector: number of views, elements per pixel, number of elements, and the element on the axis of rotation.
    """
    views, samples, elements, middle = detector
    angles = np.deg2rad(view_angles(views))
    along = np.arange(size) - size // 2
    read = (along[:, None] * np.cos(angles) - along[row] * np.sin(angles)) * samples + middle
    inside = (read >= 0) & (read <= elements - 1)
    first = np.floor(read)
    share = (read - first) * inside
    place = (np.clip(first, -1, elements - 1) + 1).astype(np.int32) + np.arange(views, dtype=np.int32) * (elements + 2)
    places = np.stack([place, place + 1], axis=-1).reshape(size, -1)
    shares = np.stack([inside - share, share], axis=-1).reshape(size, -1)
    return places, shares.astype(np.float32)


def sharpen(
    hu: NDArray[np.floating[Any]], kernel: Kernel, before: Kernel = "soft", pixel_mm: float = 1.0
) -> NDArray[np.float32]:
    """Return a slice as if reconstructed with a sharper kernel; its noise is sharpened as well.

    Each spatial frequency is amplified by the ratio of what the two kernels pass, at most fourfold; frequencies that
    the sharper kernel does not pass are unchanged.

    Args:
        hu: (H, W), in HU or any other unit.
        kernel: the sharper kernel; a smoother one changes nothing.
        before: the kernel here that is most similar to the one the slice was reconstructed with.
        pixel_mm: side of a pixel; only the fitted kernels depend on it.

    Returns:
        (H, W) float32.
    """
    from scipy import fft

    rows, columns = hu.shape
    frequency = np.hypot(fft.fftfreq(rows)[:, None], fft.rfftfreq(columns))
    with np.errstate(divide="ignore"):
        ratio = (_passed(kernel, frequency, pixel_mm) / _passed(before, frequency, pixel_mm)).clip(1.0, _MAX_GAIN)
    gain = np.where(frequency <= 0.5 * elements_per_pixel(kernel), ratio, 1.0)
    return np.asarray(fft.irfft2(fft.rfft2(hu.astype(np.float64)) * gain, s=hu.shape), dtype=np.float32)


def _passed(kernel: Kernel, frequency: Frequency, pixel_mm: float) -> Frequency:
    """Return what a reconstruction passes at a frequency in cycles per pixel, the interpolation included."""
    if kernel in _FITTED:
        scale_per_mm, exponent = _FITTED[kernel]
        return np.asarray(np.exp(-((frequency / pixel_mm / scale_per_mm) ** exponent) / 2))
    return np.asarray(_WINDOWS[kernel](frequency) * np.sinc(frequency) ** 2)


def _response(kernel: Kernel, pixel_mm: float, highest: float) -> Callable[[Frequency], Frequency]:
    """Return the window of the filter by frequency in cycles per element, up to ``highest`` cycles per pixel."""
    if kernel not in _FITTED:
        return _WINDOWS[kernel]

    def window(frequency: Frequency) -> Frequency:
        per_pixel = np.abs(frequency) * _FINE
        passed = _passed(kernel, per_pixel, pixel_mm) / np.sinc(frequency) ** 2
        return np.where(per_pixel <= highest, passed, 0.0)

    return window


def _filtered(
    line_integrals: NDArray[np.inexact[Any]], pixel_mm: float, kernel: Kernel, fineness: int
) -> NDArray[np.inexact[Any]]:
    times = elements_per_pixel(kernel) // fineness
    return _filter(_upsampled(line_integrals, times), _response(kernel, pixel_mm, 0.5 * fineness))


def _upsampled(line_integrals: NDArray[np.inexact[Any]], times: int) -> NDArray[np.inexact[Any]]:
    """Return the elements with zeros between them, which repeats the spectrum; the filter's window cuts it off."""
    if times == 1:
        return line_integrals
    fine = np.zeros((times * len(line_integrals), line_integrals.shape[1]), line_integrals.dtype)
    fine[::times] = times * line_integrals
    return fine


def _filter(
    line_integrals: NDArray[np.inexact[Any]], window: Callable[[Frequency], Frequency]
) -> NDArray[np.inexact[Any]]:
    """Convolve each projection with the windowed ramp, without wrap-around, in double precision."""
    from scipy import fft

    length = fft.next_fast_len(2 * len(line_integrals))
    response = _ramp(length) * window(fft.fftfreq(length))
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
