# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Compare the noise of a series with that of a routine dose, at which denoising would over-smooth it.

The noise that a routine dose has depends on kernel, pixel size and slice thickness. `routine_noise` estimates it from
the mean frequency of the noise itself, so kernel names, which every vendor chooses differently, are not needed.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.ct.measures import NOISE_WINDOW, soft_tissue_noise, tissue_windows, window_deviations
from scripts.ct.series import SeriesInfo

SCALE_HU = 750.0
"""Fitted constant of `routine_noise`."""

ROUTINE_FACTOR = 1.5
"""Noise up to this factor above that of `routine_noise` counts as routine: two standard deviations of its scatter."""

FREQUENCIES_PER_PX = (0.21, 0.40)
PIXELS_MM = (0.4, 1.2)
THICKNESSES_MM = (0.5, 8.0)
"""Ranges that `routine_noise` is used in: slightly wider than those of the fit."""

_STEP_PX = 8
_MIN_PATCHES = 8
_FIRST_BIN = 2
_MIN_NOISE_HU = 0.1

Image = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Noise:
    """The noise of a set of slices in flat soft tissue; NaN where there is too little of it.

    Attributes:
        hu: median over the slices of `ctcycle.ct.measures.soft_tissue_noise`.
        frequency_per_px: mean frequency of the noise power spectrum in cycles per pixel: about 0.24 for a soft kernel,
            0.34 for a sharp one.
    """

    hu: float
    frequency_per_px: float


@dataclass(frozen=True)
class DoseLevel:
    """The noise of a series compared with that of a routine dose.

    Attributes:
        noise_hu: measured noise in soft tissue.
        routine_hu: noise expected at a routine dose, see `routine_noise`; NaN if unknown.
        unknown: why ``routine_hu`` is unknown; empty if it is known.
    """

    noise_hu: float
    routine_hu: float
    unknown: str = ""

    @property
    def is_routine(self) -> bool:
        """Whether the noise is at most `ROUTINE_FACTOR` times that of a routine dose; False if unknown."""
        return self.noise_hu <= ROUTINE_FACTOR * self.routine_hu

    def warning(self) -> str:
        """Return a sentence if denoising would over-smooth the series; empty if it would not, or if unknown."""
        if not self.is_routine:
            return ""
        return (
            f"noise of {self.noise_hu:.3g} HU in soft tissue; a routine dose has about {self.routine_hu:.3g} HU with "
            "this kernel, pixel size and slice thickness, so this is no low dose and denoising would over-smooth it; "
            "set strength=auto to leave such series unchanged"
        )


def measure_noise(slices: Iterable[Image]) -> Noise:
    """Measure level and mean frequency of the noise in the most uniform 30 % of windows in soft tissue.

    The spectrum is that of detrended windows of `NOISE_WINDOW` pixels. Its two lowest bins are left out, since they
    hold mostly anatomy. It takes about 15 ms for a slice of 512 x 512 pixels.

    Args:
        slices: (H, W) each, in HU.
    """
    spectrum, levels, count = np.zeros((NOISE_WINDOW, NOISE_WINDOW)), [], 0
    for hu in slices:
        level, patches = _uniform_patches(hu)
        if level > _MIN_NOISE_HU:  # not NaN
            levels.append(level)
            count += len(patches)
            spectrum += (np.abs(np.fft.fft2(_detrended(patches))) ** 2).sum(axis=0) / level**2
    level = float(np.median(levels)) if levels else math.nan
    return Noise(level, _mean_frequency(spectrum) if count >= _MIN_PATCHES else math.nan)


def routine_noise(frequency_per_px: float, pixel_mm: float, thickness_mm: float) -> float:
    """Return the noise in soft tissue that a routine dose has: ``750 HU f³ p^-1.5 t^-0.25``.

    f is the mean frequency of the noise in cycles per pixel, p the pixel size and t the slice thickness in mm.

    The variance of filtered back-projection is proportional to ``B³ / (t dose)`` with B the bandwidth of the kernel in
    cycles/mm, so ``sigma ~ p^-1.5`` for equal spectra in pixels. As B approaches the limit of the pixel grid, f
    saturates: for ramps with Gaussian or Hann windows, ``sigma / f³`` is constant within 15 % for f from 0.20 to 0.35.
    Routine protocols give thin slices more dose, so noise rises more slowly than ``t^-0.5``.

    The constant is the geometric mean over 13 full-dose series of the trunk of 10 patients (Siemens, GE, Philips; 1 to
    5 mm, pixels of 0.64 to 1.07 mm, f from 0.24 to 0.36). Their noise is 0.65 to 1.34 times the formula, with a scatter
    of 20 % (one standard deviation; 21 % if each series is left out of the fit). A free fit of the constant and all
    exponents (3.3, -1.6, 0.0) scatters by 19 %, and by 23 % on the series left out, so more parameters are not
    justified. Patient size is not in the formula, since exposure control compensates for most of it. Heads get a higher
    dose: the only one measured has 0.23 times this noise.

    Args:
        frequency_per_px: see `Noise`.
        pixel_mm: side of a pixel.
        thickness_mm: slice thickness.
    """
    return float(SCALE_HU * frequency_per_px**3 / (pixel_mm**1.5 * thickness_mm**0.25))


def dose_level(info: SeriesInfo, slices: Iterable[Image]) -> DoseLevel:
    """Compare the noise of a series with that of a routine dose.

    Args:
        info: the series; its pixel size and slice thickness (or else spacing) are used.
        slices: some of its slices, (H, W) each, in HU.
    """
    noise = measure_noise(slices)
    pixel_mm = math.sqrt(info.spacing_mm[1] * info.spacing_mm[2])
    thickness_mm = info.thickness_mm or info.spacing_mm[0]
    if unknown := _why_unknown(noise, pixel_mm, thickness_mm):
        return DoseLevel(noise.hu, math.nan, unknown)
    return DoseLevel(noise.hu, routine_noise(noise.frequency_per_px, pixel_mm, thickness_mm))


def _why_unknown(noise: Noise, pixel_mm: float, thickness_mm: float) -> str:
    """Return why there is no estimate for a series; empty if there is one."""
    if math.isnan(noise.frequency_per_px):
        return "no uniform soft tissue to measure noise in"
    if not (pixel_mm and thickness_mm):
        return "pixel size or slice thickness is unknown"
    values = (
        ("pixel size", pixel_mm, "mm", PIXELS_MM),
        ("slice thickness", thickness_mm, "mm", THICKNESSES_MM),
        ("mean noise frequency", noise.frequency_per_px, "cycles per pixel", FREQUENCIES_PER_PX),
    )
    return next(
        (
            f"{name} of {value:.3g} {unit}; routine noise is known only for {low:g} to {high:g} {unit}"
            for name, value, unit, (low, high) in values
            if not low <= value <= high
        ),
        "",
    )


def _uniform_patches(hu: Image) -> tuple[float, NDArray[np.float64]]:
    """Return the noise of a slice in HU and, of the windows that are no noisier, those on a coarse grid: (K, N, N)."""
    windows = tissue_windows(hu)
    level = soft_tissue_noise(hu, windows)
    if math.isnan(level):
        return level, np.empty((0, NOISE_WINDOW, NOISE_WINDOW))
    centres = np.argwhere(windows)[window_deviations(hu, windows) <= level]
    rows, columns = (centres[(centres % _STEP_PX == 0).all(axis=1)] - NOISE_WINDOW // 2).T
    every = np.lib.stride_tricks.sliding_window_view(np.asarray(hu, dtype=np.float64), (NOISE_WINDOW, NOISE_WINDOW))
    return level, every[rows, columns]


def _detrended(patches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract from patches (K, N, N) their least-squares polynomials of second order."""
    flat, trends = patches.reshape(len(patches), NOISE_WINDOW**2), _trends()
    rest: NDArray[np.float64] = (flat - (flat @ trends) @ trends.T).reshape(patches.shape)
    return rest


@cache
def _trends() -> NDArray[np.float64]:
    """Return orthonormal polynomials of second order on a patch: (N², 6)."""
    y, x = np.mgrid[-1 : 1 : NOISE_WINDOW * 1j, -1 : 1 : NOISE_WINDOW * 1j].reshape(2, -1)
    basis: NDArray[np.float64] = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))[0]
    return basis


def _mean_frequency(spectrum: NDArray[np.float64]) -> float:
    """Return the mean frequency of a power spectrum (N, N) up to 0.5 cycles per pixel."""
    along = np.fft.fftfreq(NOISE_WINDOW)
    frequency = np.hypot(along[:, None], along)
    band = (frequency >= _FIRST_BIN / NOISE_WINDOW) & (frequency <= 0.5)
    return float(np.average(frequency[band], weights=spectrum[band]))
