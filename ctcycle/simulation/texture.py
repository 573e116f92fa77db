"""Texture of tissue: random structure in bands of scales, from 1.5 to 60 mm."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ctcycle.simulation.blobs import FloatArray

_SIZE = 64


@dataclass(frozen=True)
class Band:
    """A band of scales, on a grid of `_SIZE` steps that repeats.

    Attributes:
        step_mm: grid step along x and y.
        step_z_mm: grid step along z; a larger one makes structure longer from foot to head.
        shortest: shortest wavelength in steps, at least 2.
        longest: longest wavelength in steps.
    """

    step_mm: float
    step_z_mm: float
    shortest: float
    longest: float


BANDS = (Band(3.0, 3.0, 4.0, 20.0), Band(1.5, 1.5, 3.0, 8.0), Band(0.75, 0.75, 2.0, 6.0), Band(0.75, 3.0, 2.0, 6.0))
"""The bands of `ctcycle.simulation.blobs.Grain`, in its order."""


class Texture:
    """The texture of one patient, of unit variance in each band.

    Attributes:
        volumes: for each of `BANDS`, (N, N, N) float32 along z, y, x, which repeats.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the texture from ``rng``."""
        self.volumes = tuple(make_volume(band, rng) for band in BANDS)

    def planes(self, z_mm: float, along_mm: FloatArray) -> FloatArray:
        """Return the texture of one slice.

        Args:
            z_mm: position of the slice.
            along_mm: (P,) positions of the columns along x, and of the rows along y, evenly spaced.

        Returns:
            (4, P, P) float32, one plane per band: the means over each pixel of the linearly interpolated volume.
        """
        return np.stack([_plane(*item, z_mm, along_mm) for item in zip(BANDS, self.volumes, strict=True)])


def make_volume(band: Band, rng: np.random.Generator) -> FloatArray:
    """Return Gaussian noise with structure at the scales of a band; within it, every octave has the same share.

    Returns:
        (N, N, N) float32 of zero mean and unit variance; its power falls as 1/f³ within the band and is 0 outside.
    """
    from scipy import fft

    along, half = fft.fftfreq(_SIZE), fft.rfftfreq(_SIZE)
    square = along[:, None, None] ** 2 + along[:, None] ** 2 + half**2
    inside = (square >= band.longest**-2) & (square <= band.shortest**-2)
    amplitude = np.where(inside, square.clip(_SIZE**-2) ** -0.75, 0.0).astype(np.float32)
    white = rng.standard_normal((_SIZE,) * 3, np.float32)
    volume = fft.irfftn(fft.rfftn(white) * amplitude, s=white.shape)
    return np.asarray(volume / volume.std(), np.float32)


def _plane(band: Band, volume: FloatArray, z_mm: float, along_mm: FloatArray) -> FloatArray:
    """Return one band of a slice."""
    before = math.floor(z_mm / band.step_z_mm)
    weight = np.float32(z_mm / band.step_z_mm - before)
    plane = (1 - weight) * volume[before % _SIZE] + weight * volume[(before + 1) % _SIZE]
    weights = _pixel_weights(along_mm, band.step_mm)
    return np.asarray((weights @ (weights @ plane).T).T, np.float32)


def _pixel_weights(along_mm: FloatArray, step_mm: float) -> sparse.csr_array:
    """Return (P, N) weights of the grid points in the mean over each pixel of the linear interpolation."""
    pixel = float(along_mm[1] - along_mm[0])
    parts = math.ceil(2 * pixel / step_mm)
    offsets = pixel * ((np.arange(parts) + 0.5) / parts - 0.5)
    steps = (along_mm[:, None].astype(np.float64) + offsets) / step_mm
    before = np.floor(steps)
    share = ((steps - before) / parts).astype(np.float32)
    points = np.concatenate([before, before + 1], axis=1).astype(np.int64) % _SIZE
    values = np.concatenate([np.float32(1 / parts) - share, share], axis=1)
    rows: NDArray[np.int64] = np.repeat(np.arange(len(along_mm)), 2 * parts)
    return sparse.csr_array((values.ravel(), (rows, points.ravel())), shape=(len(along_mm), _SIZE))
