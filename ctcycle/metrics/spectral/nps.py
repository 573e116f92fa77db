"""Noise power spectrum: how much noise there is, how fine it is, and how its texture differs from another's.

As in AAPM TG-233 (Samei et al. 2019, doi 10.1002/mp.13763): spectra of regions without structure, detrended, averaged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.metrics.spectral.spectra import detrended_spectra, mean_power, radial_frequency, spectrum_rings

FIRST_RING = 3
"""Rings below this are not reported: leakage of the regions' borders raises them 1.2 to 1.5 times."""

NYQUIST_PER_PX = 0.5
SECTORS = 8
_SMOOTHED_RINGS = 3


@dataclass(frozen=True)
class NoisePower:
    """The noise power spectrum of regions of one pixel size.

    Attributes:
        regions: how many were averaged.
        pixel_mm: side of a pixel.
        power_hu2_mm2: (N, N), in the order of `numpy.fft.fft2`; its integral over frequency is ``noise_hu`` squared.
        frequency_per_mm: (R), mean frequency of the rings from `FIRST_RING` / N to 0.5 cycles a pixel.
        radial_hu2_mm2: (R), mean of the spectrum over each ring.
        noise_hu: standard deviation of the detrended regions, all frequencies included.
        anisotropy: largest over smallest mean power of 8 sectors of direction; 1 for the same power in all directions.
    """

    regions: int
    pixel_mm: float
    power_hu2_mm2: NDArray[np.float64]
    frequency_per_mm: NDArray[np.float64]
    radial_hu2_mm2: NDArray[np.float64]
    noise_hu: float
    anisotropy: float

    @property
    def peak_per_mm(self) -> float:
        """Frequency of the largest power, the mean of three rings each, in cycles/mm."""
        smooth = np.convolve(self.radial_hu2_mm2, np.full(_SMOOTHED_RINGS, 1 / _SMOOTHED_RINGS), mode="valid")
        return float(self.frequency_per_mm[np.argmax(smooth) + _SMOOTHED_RINGS // 2])

    @property
    def mean_per_mm(self) -> float:
        """Mean frequency Σ f (f NPS) / Σ f NPS over the rings, in cycles/mm."""
        return float(np.average(self.frequency_per_mm, weights=self.frequency_per_mm * self.radial_hu2_mm2))

    @property
    def peak_per_px(self) -> float:
        """Frequency of the largest power in cycles per pixel."""
        return self.peak_per_mm * self.pixel_mm

    @property
    def mean_per_px(self) -> float:
        """Mean frequency in cycles per pixel."""
        return self.mean_per_mm * self.pixel_mm


def noise_power(regions_hu: NDArray[np.floating], pixel_mm: float) -> NoisePower:
    """Estimate the noise power spectrum NPS = Δ² / N² ⟨|DFT(region - p₂)|²⟩ from regions without structure.

    Args:
        regions_hu: (K, N, N), HU; N of 64 for phantoms and 32 for patients is usual, K of 100 gives 5 % a ring.
        pixel_mm: Δ, side of a pixel.

    Raises:
        ValueError: no stack of square regions, N too small for a ring, or ``pixel_mm`` not positive.
    """
    spectra = detrended_spectra(regions_hu)
    return noise_power_of(mean_power(spectra, spectra), len(spectra), pixel_mm)


def noise_power_of(power_hu2: NDArray[np.float64], regions: int, pixel_mm: float) -> NoisePower:
    """Return the noise power spectrum of regions whose mean power is known, such as of many slices.

    Args:
        power_hu2: (N, N), see `spectra.mean_power`.
        regions: how many were averaged.
        pixel_mm: side of a pixel.

    Raises:
        ValueError: ``pixel_mm`` is not positive.
    """
    if not pixel_mm > 0:
        raise ValueError(f"noise power: pixel_mm={pixel_mm}; a length above 0 is needed")
    size = len(power_hu2)
    power = power_hu2 * (pixel_mm * size) ** 2
    rings = spectrum_rings(size)
    shown = slice(FIRST_RING, size // 2 + 1)
    return NoisePower(
        regions=regions,
        pixel_mm=pixel_mm,
        power_hu2_mm2=power,
        frequency_per_mm=rings.frequency_per_px[shown] / pixel_mm,
        radial_hu2_mm2=rings.mean(power)[shown],
        noise_hu=float(np.sqrt(power_hu2.sum())),
        anisotropy=_anisotropy(power),
    )


def texture_distance(first: NoisePower, second: NoisePower) -> float:
    """Compare the shapes of two spectra: T = ½ Σ |p - q|, with p and q the normalised f NPS of each.

    0 for the same texture whatever the levels, 1 for spectra that share no frequency. Few regions raise T: two samples
    of 100 regions of one texture have about 0.01. Spectra on different rings are compared on those of ``first``, as far
    as both reach.
    """
    reach = second.frequency_per_mm
    common = (first.frequency_per_mm >= reach[0] * (1 - 1e-9)) & (first.frequency_per_mm <= reach[-1] * (1 + 1e-9))
    frequency = first.frequency_per_mm[common]
    if frequency.size == 0:
        return 1.0
    p = frequency * first.radial_hu2_mm2[common]
    q = frequency * np.interp(frequency, reach, second.radial_hu2_mm2)
    return float(np.abs(p / p.sum() - q / q.sum()).sum() / 2)


def power_ratio_above(first: NoisePower, second: NoisePower, frequency_per_px: float = 0.4) -> float:
    """Return the noise power of ``first`` above a frequency over that of ``second``.

    Args:
        first: of an output, say.
        second: of full dose, with the same pixels and regions of the same size.
        frequency_per_px: cycles per pixel; what lies in the corners above 0.5 counts too.

    Raises:
        ValueError: the spectra have different bins.
    """
    if first.power_hu2_mm2.shape != second.power_hu2_mm2.shape or not np.isclose(first.pixel_mm, second.pixel_mm):
        raise ValueError("noise power: spectra with different bins; use regions of one size and one pixel size")
    above = radial_frequency(len(first.power_hu2_mm2)) > frequency_per_px
    return float(first.power_hu2_mm2[above].sum() / second.power_hu2_mm2[above].sum())


def _anisotropy(power: NDArray[np.float64]) -> float:
    """Largest over smallest mean of the sectors; the first is centred on the horizontal axis, opposite ones are one."""
    size = len(power)
    along = np.fft.fftfreq(size)
    sector = np.rint(np.arctan2(along[:, None], along) * SECTORS / np.pi).astype(int) % SECTORS
    radius = radial_frequency(size)
    band = (radius >= FIRST_RING / size) & (radius < NYQUIST_PER_PX)
    totals = np.bincount(sector[band], weights=power[band], minlength=SECTORS)
    means = totals / np.bincount(sector[band], minlength=SECTORS)
    return float(means.max() / means.min()) if means.min() > 0 else float("inf")
