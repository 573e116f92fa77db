"""The noise that a scan would have more of at a lower dose, from its own slices.

Each slice is projected; the noise of the photons that the lower dose lacks is drawn in the projections and
reconstructed alone, by filtered back projection, which is linear. The scan itself is never reconstructed anew: its
edges, its own noise and its artefacts stay what the scanner made of them (Yu et al. 2012; Zabic et al. 2013).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct.hounsfield import MU_WATER, hu_to_mu
from ctcycle.errors import SeriesError
from ctcycle.metrics.noise import MIN_WINDOWS, highpass, tissue_windows
from ctcycle.simulation.dose import dose_noise
from ctcycle.simulation.projection import project
from ctcycle.simulation.reconstruction import reconstruct
from ctcycle.simulation.settings import Kernel

Volume = NDArray[np.float32]

_BAND_PX = 2.0
"""The scan's noise is measured above this Gaussian's frequencies, where anatomy has little."""


@dataclass(frozen=True)
class LowerDose:
    """The scan that is imitated.

    Attributes:
        fraction: its dose over that of the scan there is, in (0, 1).
        kernel: reconstruction filter of the noise.
        noise_hu: standard deviation of the added noise in soft tissue, in HU; None lets it follow from ``fraction`` and
            the scan's own noise.
        photons: that a detector element counts at full dose where nothing is in the way.
        electronic_noise: standard deviation of the read-out, in photons.
    """

    fraction: float
    kernel: Kernel
    noise_hu: float | None = None
    photons: float = 1e5
    electronic_noise: float = 2.0


def line_integrals(hu: Volume, pixel_mm: float, views: int) -> Volume:
    """What the rays of a parallel beam lose in each slice, whose corners may have been cut.

    Args:
        hu: (S, H, W), the scan; slices that are not square get air below or to the right.
        pixel_mm: side of a pixel.
        views: projections over 180 degrees.

    Returns:
        (S, D, views) float32, as `ctcycle.simulation.projection.project` gives them.
    """
    side = max(hu.shape[1:])
    margin = [(0, side - length) for length in hu.shape[1:]]
    return np.stack([project(np.pad(hu_to_mu(image).clip(0.0), margin), pixel_mm, views) for image in hu])


def added_noise(hu: Volume, rays: Volume, pixel_mm: float, dose: LowerDose, seed: int) -> Volume:
    """The noise to be added to a scan, in HU; its level is measured in the soft tissue of each slice.

    So the tube current follows the body as scanners let it: shoulders are hardly noisier than the neck. A slice without
    enough soft tissue gets its level from its neighbours.

    Args:
        hu: (S, H, W), the scan that the noise is for.
        rays: its `line_integrals`.
        pixel_mm: side of a pixel.
        dose: what is imitated.
        seed: of the noise; each slice draws its own.

    Returns:
        (S, H, W) float32.

    Raises:
        SeriesError: no slice shows enough soft tissue to set the level by.
    """
    noise, levels = np.empty_like(hu), np.full(len(hu), np.nan)
    for number, image in enumerate(hu):
        own, added = dose_noise(
            rays[number], dose.photons, dose.fraction, dose.electronic_noise, np.random.default_rng([seed, number])
        )
        both = _reconstruct(added + 1j * own, image.shape, pixel_mm, dose.kernel)
        noise[number] = both.real
        tissue = tissue_windows(image)
        if np.count_nonzero(tissue) >= MIN_WINDOWS:
            levels[number] = _level(image, both, tissue, dose.noise_hu)
    measured = np.flatnonzero(np.isfinite(levels))
    if not len(measured):
        raise SeriesError("too little soft tissue to measure noise in")
    factors = np.interp(np.arange(len(hu)), measured, levels[measured])
    noise *= factors.astype(np.float32)[:, None, None]
    return noise


def _reconstruct(
    rays: NDArray[np.inexact], shape: tuple[int, ...], pixel_mm: float, kernel: Kernel
) -> NDArray[np.inexact]:
    """Noise of a slice, in HU."""
    mu = reconstruct(rays, pixel_mm, max(shape), kernel)[: shape[0], : shape[1]]
    return mu * np.float32(1000.0 / MU_WATER)


def _level(
    image: NDArray[np.float32], noise: NDArray[np.inexact], tissue: NDArray[np.bool_], noise_hu: float | None
) -> float:
    """What added noise (real part) is to be multiplied with, by the noise of the scan (imaginary part) or as asked."""
    if noise_hu is not None:
        return noise_hu / float(np.std(noise.real[tissue]))
    return _spread(image, tissue) / _spread(noise.imag, tissue)


def _spread(image: NDArray[np.floating], tissue: NDArray[np.bool_]) -> float:
    """Of the noise above the band, by the median, which borders between organs hardly move."""
    return float(np.median(np.abs(highpass(image, _BAND_PX)[tissue])))
