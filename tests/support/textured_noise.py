"""Slices of a trunk in noise of filtered back-projection, made in the frequency domain; and series that hold them."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct.series import Series, SeriesInfo

PIXEL_MM, THICKNESS_MM = 0.75, 3.0


def ramp_spectrum(size: int, cut_off: float) -> NDArray[np.float64]:
    """Power spectrum f exp(-2 (f / cut_off)²) of a slice, aliases of the pixel grid included; frequencies per pixel."""
    along = np.fft.fftfreq(size)
    power = np.zeros((size, size))
    for row in range(-2, 3):
        for column in range(-2, 3):
            frequency = np.hypot(along[:, None] + row, along + column)
            power += frequency * np.exp(-2 * (frequency / cut_off) ** 2)
    return power


def ramp_noise(size: int, cut_off: float, count: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Noise (count, size, size) with that spectrum; its variance is the mean of the spectrum."""
    white = np.random.default_rng(seed).normal(size=(count, size, size))
    return np.fft.ifft2(np.sqrt(ramp_spectrum(size, cut_off)) * np.fft.fft2(white)).real


def noisy_trunk(noise_hu: float, cut_off: float = 0.3, count: int = 3, size: int = 192) -> NDArray[np.float32]:
    """Slices of fat, muscle, two organs, a lung and a bone in air, with ramp noise of a level in HU."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = np.hypot(rows / 0.8, columns / 0.95)
    hu = np.where(body < 1, -100.0, -1000.0)
    hu[body < 0.9] = 50.0
    for row, column, radius, value in ((-0.2, 0.45, 0.2, 90), (0.1, -0.5, 0.15, -850), (0.6, 0, 0.08, 600)):
        hu[np.hypot(rows - row, columns - column) < radius] = value
    grain = ramp_noise(size, cut_off, count)
    return (hu + noise_hu * grain / grain.std()).astype(np.float32)


def series_of(
    hu: NDArray[np.float32], pixel_mm: float = PIXEL_MM, thickness_mm: float = THICKNESS_MM, spacing_mm: float = 2.0
) -> Series:
    """A decoded series of the slices."""
    spacing = (spacing_mm, pixel_mm, pixel_mm)
    positions = tuple(map(float, range(len(hu))))
    info = SeriesInfo(
        "nifti", Path("ct.nii"), (Path("ct.nii"),), "", hu.shape, spacing, positions, "", thickness_mm, ""
    )
    return Series(info, hu, None)


def theory_hu(cut_off: float, size: int = 256) -> float:
    """Standard deviation of ramp noise by its spectrum, at a fixed dose."""
    return math.sqrt(ramp_spectrum(size, cut_off).mean())
