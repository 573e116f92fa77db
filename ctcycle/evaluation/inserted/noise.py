"""Noise of flat windows and structure in the residual, of the slices that the insertion bench chose."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.inserted.sites import SiteSlice
from ctcycle.metrics.spectral.nps import NoisePower, noise_power_of
from ctcycle.metrics.spectral.spectra import detrended_spectra, mean_power
from ctcycle.metrics.truth_free import residual_structure
from ctcycle.metrics.windows import WINDOW_PX, cut_windows, flat_windows

Images = Iterable[tuple[NDArray[np.floating], NDArray[np.floating], float]]


@dataclass(frozen=True)
class SliceStructure:
    """Excess correlation of a slice's residual with edges.

    Attributes:
        patient: of the slice.
        excess: see `ResidualStructure.excess`.
    """

    patient: str
    excess: float


def flat_noise(images: Images) -> NoisePower | None:
    """Return the mean spectrum of flat windows; None without any.

    Args:
        images: of each slice the image in which windows are looked for, the image that is measured, both (H, W) in HU,
            and the pixel size in mm.
    """
    power, area, regions = np.zeros((WINDOW_PX, WINDOW_PX)), 0.0, 0
    for searched, measured, pixel_mm in images:
        corners = flat_windows(searched)
        if corners:
            spectra = detrended_spectra(cut_windows(measured, corners))
            power += mean_power(spectra, spectra) * len(corners)
            area += len(corners) * pixel_mm**2
            regions += len(corners)
    return noise_power_of(power / regions, regions, float(np.sqrt(area / regions))) if regions else None


def full_domain_noise(slices: Iterable[tuple[NDArray[np.floating], float]]) -> NoisePower | None:
    """Return the noise of full-dose slices of the same kernel, given as (H, W) in HU and pixel size in mm."""
    return flat_noise((hu, hu, pixel_mm) for hu, pixel_mm in slices)


def structures(kept: Sequence[SiteSlice], seed: int) -> list[SliceStructure]:
    """Return the structure in the residual of each slice that shows enough of the body."""
    found = []
    for item in kept:
        rng = np.random.default_rng(seed)
        try:
            excess = residual_structure(item.pair.low_hu, item.output_hu, rng).excess
        except ValueError:
            continue
        found.append(SliceStructure(item.pair.patient, excess))
    return found
