"""Chooses slices and sites for inserted lesions, and estimates how sharp the scan is."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.pairs import HUImage, HUPair
from ctcycle.metrics.lesions.insertion import Site
from ctcycle.metrics.spectral.nps import NoisePower
from ctcycle.metrics.windows import WINDOW_PX, flatness_map

REACH_MM = 9.0
"""A window reaches this far from its centre: 4 mm beyond the edge of the largest lesion."""

APERTURE_SIGMA_MM = 0.22
"""Blur of a 0.6 mm detector element and a 0.5 mm focal spot at the isocentre, which noise does not show."""

MAX_SIGMA_MM = 1.5
LEAKAGE = 0.05
"""Rings below this share of the peak hold mostly what leaks from others; they are not fitted."""

SQUARE = 0.01
"""Largest relative difference of row and column spacing that still counts as square."""


@dataclass(frozen=True)
class InsertionSettings:
    """Extent of the insertion bench.

    Attributes:
        slices: most slices that are denoised with lesions; they are spread over the patients.
        sites: most sites in a slice; all of them share the passes of the denoiser.
        responses: of each lesion, at least; fewer only where there are fewer sites. See `passes.lesion_passes`.
        distance_px: least distance of two sites' corners, along rows or along columns. A lesion must not change the
            response to another: this is more than the reach of a filter (35 px for the shipped network) and two of the
            largest lesions.
        seed: of the choice of slices, and of intervals over sites.
    """

    slices: int = 16
    sites: int = 16
    responses: int = 16
    distance_px: int = 64
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SiteSlice:
    """A slice with its sites.

    Attributes:
        pair: the slice.
        output_hu: (H, W) the method's output without lesions.
        sites: corners of the windows.
        window_px: side of the windows.
        priority: random; slices of low priority are kept.
    """

    pair: HUPair
    output_hu: HUImage
    sites: tuple[Site, ...]
    window_px: int
    priority: float


class SiteChoice:
    """Keeps a random sample of the slices that have sites, as evenly spread over the patients as it can."""

    def __init__(self, settings: InsertionSettings) -> None:
        """Start with no slice; the same settings and slices give the same choice for every method."""
        self.settings = settings
        self.kept: list[SiteSlice] = []
        self._rng = np.random.default_rng(settings.seed)

    def add(self, pair: HUPair, output_hu: HUImage) -> None:
        """Keep a slice, perhaps in place of another."""
        priority = float(self._rng.random())
        if not is_square(pair.spacing_mm):
            return
        size = window_px(pair.spacing_mm[0])
        sites = find_sites(pair.low_hu, size, self.settings)
        if not sites:
            return
        self.kept.append(SiteSlice(pair, output_hu.copy(), sites, size, priority))
        if len(self.kept) > self.settings.slices:
            slices = Counter(item.pair.patient for item in self.kept)
            self.kept.remove(max(self.kept, key=lambda item: (slices[item.pair.patient], item.priority)))


def is_square(spacing_mm: tuple[float, float]) -> bool:
    """Return whether pixels are square; False if their size is unknown (0), since lesions are given in mm."""
    return min(spacing_mm) > 0 and abs(spacing_mm[0] / spacing_mm[1] - 1) <= SQUARE


def window_px(spacing_mm: float) -> int:
    """Return the side of a window that holds the largest lesion, even and at least `WINDOW_PX`."""
    return max(WINDOW_PX, 2 * int(np.ceil(REACH_MM / spacing_mm)))


def find_sites(low_hu: NDArray[np.floating], size_px: int, settings: InsertionSettings) -> tuple[Site, ...]:
    """Return flat windows (corners) far enough apart to share a pass of the denoiser, row by row from the top left."""
    chosen: list[Site] = []
    apart = max(settings.distance_px, size_px)
    free = flatness_map(low_hu, size_px).copy()
    for row, column in np.argwhere(free):
        if len(chosen) == settings.sites:
            break
        if free[row, column]:
            chosen.append((int(row), int(column)))
            free[row : row + apart, max(column - apart + 1, 0) : column + apart] = False
    return tuple(chosen)


def kernel_sigma_mm(noise: NoisePower) -> float:
    """Estimate the blur of the reconstruction kernel from the noise that it shaped.

    Filtered back projection turns white projection noise into NPS ∝ f W²(f) with W the kernel's window (Kijewski and
    Judy 1987). With W = exp(-2 pi² sigma² f²), ln(NPS / f) falls by 4 pi² sigma² per f²: a line is fitted, weighted by
    f as the bins of a ring are.

    Returns:
        sigma in mm, 0 for kernels that enhance edges, at most `MAX_SIGMA_MM`.
    """
    found = noise.radial_hu2_mm2 > LEAKAGE * noise.radial_hu2_mm2.max()
    frequency, power = noise.frequency_per_mm[found], noise.radial_hu2_mm2[found]
    slope = np.polyfit(frequency**2, np.log(power / frequency), 1, w=np.sqrt(frequency))[0]
    return float(np.clip(np.sqrt(max(-slope, 0.0)) / (2 * np.pi), 0.0, MAX_SIGMA_MM))


def scan_sigma_mm(noise: NoisePower) -> float:
    """Return the blur of a scan: that of its kernel, from its noise, and `APERTURE_SIGMA_MM`, which is assumed."""
    return float(np.hypot(kernel_sigma_mm(noise), APERTURE_SIGMA_MM))
