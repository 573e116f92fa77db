"""Projection-domain noise insertion: the noise that a lower dose would add to a scan.

Each slice is projected, and the additional noise of the lower dose is drawn in the projections. Only this noise is
reconstructed, by filtered back-projection, which is linear. The scan itself is not reconstructed again, so its edges,
noise and artefacts remain those of the scanner (Yu et al. 2012; Zabic et al. 2013).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct.hounsfield import MU_WATER, hu_to_mu
from ctcycle.errors import SeriesError
from ctcycle.metrics.noise import MIN_WINDOWS, highpass, tissue_windows
from ctcycle.simulation.dose import dose_noise
from ctcycle.simulation.projection import project
from ctcycle.simulation.reconstruction import elements_per_pixel, reconstruct
from ctcycle.simulation.settings import Kernel

Volume = NDArray[np.float32]

_BAND_PX = 2.0
"""Sigma of the Gaussian high-pass through which the scan's noise is measured: anatomy has little power above it."""

_MAD = 0.6745
"""Median absolute deviation of Gaussian noise with a standard deviation of 1."""


@dataclass(frozen=True)
class LowerDose:
    """The low dose to simulate.

    Attributes:
        fraction: simulated dose over the dose of the scan, in (0, 1).
        kernel: reconstruction kernel of the noise.
        noise_hu: standard deviation of the added noise in soft tissue, in HU; None derives it from ``fraction`` and the
            noise of the scan.
        photons: photons counted by a detector element at full dose in an unattenuated ray.
        electronic_noise: standard deviation of the read-out noise, in photons.
    """

    fraction: float
    kernel: Kernel
    noise_hu: float | None = None
    photons: float = 1e5
    electronic_noise: float = 2.0


def line_integrals(hu: Volume, pixel_mm: float, views: int) -> Volume:
    """Return the parallel-beam line integrals of each slice.

    Args:
        hu: (S, H, W), the scan; slices that are not square are padded with air at the bottom or right.
        pixel_mm: side of a pixel.
        views: number of projections over 180 degrees.

    Returns:
        (S, D, views) float32, as returned by `ctcycle.simulation.projection.project`.
    """
    side = max(hu.shape[1:])
    margin = [(0, side - length) for length in hu.shape[1:]]
    return np.stack([project(np.pad(hu_to_mu(image).clip(0.0), margin), pixel_mm, views) for image in hu])


def added_noise(hu: Volume, rays: Volume, pixel_mm: float, dose: LowerDose, seed: int) -> Volume:
    """Return the noise to add to a scan, in HU, with a level measured in the soft tissue of each slice.

    Setting the level slice by slice reproduces the scanner's tube current modulation: shoulders are hardly noisier than
    the neck. The level of slices without enough soft tissue is interpolated from their neighbours.

    Args:
        hu: (S, H, W), the scan.
        rays: its `line_integrals`.
        pixel_mm: side of a pixel.
        dose: the low dose to simulate.
        seed: seed of the noise, which is independent for each slice.

    Returns:
        (S, H, W) float32.

    Raises:
        SeriesError: no slice has enough soft tissue to measure noise in.
    """
    noise, levels = np.empty_like(hu), np.full(len(hu), np.nan)
    for number, image in enumerate(hu):
        both = _draw(rays[number], image.shape, pixel_mm, dose, np.random.default_rng([seed, number]))
        noise[number] = both.real
        tissue = tissue_windows(image)
        if np.count_nonzero(tissue) >= MIN_WINDOWS:
            levels[number] = _level(image, both, tissue, dose.noise_hu)
    noise *= _filled(levels)[:, None, None]
    return noise


def noise_draws(hu: Volume, rays: Volume, pixel_mm: float, dose: LowerDose, seed_and_draws: tuple[int, int]) -> Volume:
    """Return independent draws of the noise that a lower dose adds to each slice of a scan, in HU.

    The level is ``sqrt(1 / fraction - 1)`` times the scan's own noise in soft tissue, or ``noise_hu``, whatever the
    kernel. A scan without enough soft tissue to measure its noise in keeps the level that ``photons`` gives. Two draws
    cost as much as one of `added_noise`: they share a reconstruction.

    Args:
        hu: (S, H, W), the scan.
        rays: its `line_integrals`.
        pixel_mm: side of a pixel.
        dose: the low dose to simulate.
        seed_and_draws: the seed of the noise, and the number of draws.

    Returns:
        (draws, S, H, W) float32.
    """
    seed, draws = seed_and_draws
    noise, levels = np.empty((draws, *hu.shape), np.float32), np.full(len(hu), np.nan)
    for number, image in enumerate(hu):
        for first in range(0, draws, 2):
            rng = np.random.default_rng([seed, number, first])
            both = _draw(rays[number], image.shape, pixel_mm, dose, rng, twice=True)
            noise[first : first + 2, number] = [both.real, both.imag][: draws - first]
        tissue = tissue_windows(image)
        if np.count_nonzero(tissue) >= MIN_WINDOWS:
            wanted = dose.noise_hu or np.sqrt(1 / dose.fraction - 1) * _spread(image, tissue) / _MAD
            levels[number] = wanted / (_spread(noise[0, number], tissue) / _MAD)
    return noise * _filled(levels)[:, None, None] if np.isfinite(levels).any() else noise


def _filled(levels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the levels (S,) with those that are not known interpolated from their neighbours."""
    measured = np.flatnonzero(np.isfinite(levels))
    if not len(measured):
        raise SeriesError("too little soft tissue to measure noise in")
    return np.interp(np.arange(len(levels)), measured, levels[measured]).astype(np.float32)


def _draw(
    rays: NDArray[np.float32],
    shape: tuple[int, ...],
    pixel_mm: float,
    dose: LowerDose,
    rng: np.random.Generator,
    *,
    twice: bool = False,
) -> NDArray[np.inexact]:
    """Return reconstructed noise of a slice in HU: the added noise, and the full-dose noise as imaginary part.

    With ``twice``, the imaginary part is a second draw of the added noise.
    """
    fineness = elements_per_pixel(dose.kernel)
    photons, read_out = dose.photons / fineness, dose.electronic_noise / np.sqrt(fineness)
    own, added = dose_noise(_divided(rays, fineness), photons, dose.fraction, read_out, rng)
    if twice:
        own = dose_noise(_divided(rays, fineness), photons, dose.fraction, read_out, rng)[1]
    mu = reconstruct(added + 1j * own, pixel_mm, max(shape), dose.kernel, fineness)[: shape[0], : shape[1]]
    return mu * np.float32(1000.0 / MU_WATER)


def _divided(rays: NDArray[np.float32], parts: int) -> NDArray[np.float32]:
    """Return the rays (D, views) of a detector whose elements are divided into equal parts."""
    if parts == 1:
        return rays
    whole = np.arange(parts * len(rays)) // parts
    following = np.minimum(whole + 1, len(rays) - 1)
    weight = (np.arange(parts * len(rays)) % parts / parts).astype(np.float32)[:, None]
    return rays[whole] * (1 - weight) + rays[following] * weight


def _level(
    image: NDArray[np.float32], noise: NDArray[np.inexact], tissue: NDArray[np.bool_], noise_hu: float | None
) -> float:
    """Return the factor that scales the added noise (real part) to ``noise_hu``, or to the scan's noise.

    The imaginary part is full-dose noise, whose measured level in the scan calibrates the added noise.
    """
    if noise_hu is not None:
        return noise_hu / float(np.std(noise.real[tissue]))
    return _spread(image, tissue) / _spread(noise.imag, tissue)


def _spread(image: NDArray[np.floating], tissue: NDArray[np.bool_]) -> float:
    """Return the median absolute deviation of high-pass noise, which edges between organs barely affect."""
    return float(np.median(np.abs(highpass(image, _BAND_PX)[tissue])))
