"""Analytic abdomen phantoms in HU: large differences between patients, small ones between slices of a patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.simulation.anatomy import AIR, PARTS, make_build
from ctcycle.simulation.blobs import Blob, Canvas, FloatArray

TEXTURE_GRID_MM = 1.5
_TEXTURE_SIZE = 128
_LONGEST_MM = 60.0
"""Wavelength above which the power of the texture is constant."""

_SUBSLICES = 5


@dataclass(frozen=True)
class Patient:
    """A simulated patient, drawn slice by slice with `draw_slice`.

    Attributes:
        blobs: in painting order.
        texture: (N, N, N) soft-tissue texture of unit variance along z, y, x, which repeats; see `make_texture`.
        texture_hu: standard deviation of the texture, before it is averaged over a slice's thickness.
        level_mm: z at the centre of this patient's scans.
    """

    blobs: tuple[Blob, ...]
    texture: FloatArray
    texture_hu: float
    level_mm: float


def make_patient(rng: np.random.Generator) -> Patient:
    """Return a new patient; build, organs, contrast phase and level are drawn from ``rng``."""
    build = make_build(rng)
    blobs = [blob for part in PARTS for blob in part(build, rng)]
    texture_hu, level_mm = rng.uniform(5, 10), rng.uniform(-55, 70)
    return Patient(tuple(blobs), make_texture(rng.spawn(1)[0]), texture_hu, level_mm)


def make_texture(rng: np.random.Generator) -> FloatArray:
    """Return Gaussian noise with structure at all scales: its power falls as 1/f³, so every octave has the same share.

    Returns:
        (N, N, N) float32 of zero mean and unit variance, on a grid of `TEXTURE_GRID_MM` that repeats at its borders;
        wavelengths from two grid steps to `_LONGEST_MM`.
    """
    from scipy import fft

    along = fft.fftfreq(_TEXTURE_SIZE, TEXTURE_GRID_MM)
    square = along[:, None, None] ** 2 + along[:, None] ** 2 + along[: _TEXTURE_SIZE // 2 + 1] ** 2
    amplitude = np.maximum(square, _LONGEST_MM**-2).astype(np.float32) ** np.float32(-0.75)
    amplitude[0, 0, 0] = 0.0
    white = rng.standard_normal((_TEXTURE_SIZE,) * 3, np.float32)
    texture = fft.irfftn(fft.rfftn(white) * amplitude, s=white.shape)
    return np.asarray(texture / texture.std(), np.float32)


def draw_slab(patient: Patient, z_mm: float, thickness_mm: float, size: int, pixel_mm: float) -> FloatArray:
    """Return the mean of `draw_slice` over a slice's thickness, as a scanner sees it: small things are partly in it."""
    offsets = thickness_mm * ((np.arange(_SUBSLICES) + 0.5) / _SUBSLICES - 0.5)
    slices = [draw_slice(patient, z_mm + offset, size, pixel_mm) for offset in offsets]
    return np.asarray(np.mean(slices, axis=0), np.float32)


def draw_slice(patient: Patient, z_mm: float, size: int, pixel_mm: float) -> FloatArray:
    """Return one slice in HU, (size, size) float32 with smooth edges; x = y = 0 is at pixel ``size // 2``."""
    along = ((np.arange(size) - size // 2) * pixel_mm).astype(np.float32)
    canvas = Canvas(along, z_mm, AIR)
    for blob in patient.blobs:
        canvas.paint(blob)
    soft = np.clip((canvas.hu + 180) / 80, 0, 1) * np.clip((400 - canvas.hu) / 150, 0, 1)
    return (canvas.hu + soft * _texture(patient, z_mm, along)).astype(np.float32)


def _texture(patient: Patient, z_mm: float, along: FloatArray) -> FloatArray:
    """Return the texture of a slice, interpolated linearly in its grid."""
    here, following, weight = _steps(np.array([z_mm], np.float32))
    plane = (1 - weight) * patient.texture[here[0]] + weight * patient.texture[following[0]]
    here, following, weight = _steps(along)
    rows = (1 - weight)[:, None] * plane[here] + weight[:, None] * plane[following]
    texture: FloatArray = (1 - weight) * rows[:, here] + weight * rows[:, following]
    return np.float32(patient.texture_hu) * texture


def _steps(position_mm: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Return the grid steps before and after each position, and the weight of the latter."""
    steps = position_mm / np.float32(TEXTURE_GRID_MM)
    before = np.floor(steps)
    here = before.astype(np.int64) % _TEXTURE_SIZE
    return here, (here + 1) % _TEXTURE_SIZE, (steps - before).astype(np.float32)
