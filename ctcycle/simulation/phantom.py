"""Abdomens in HU, made of analytic shapes: patients differ much from each other, the slices of one a little."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.simulation.anatomy import AIR, PARTS, make_build
from ctcycle.simulation.blobs import Blob, Canvas, FloatArray


@dataclass(frozen=True)
class Patient:
    """What `draw_slice` draws.

    Attributes:
        blobs: in the order of painting.
        waves: (K, 4) the texture of soft tissue: angular frequencies along x, y, z in 1/mm, and phases.
        texture_hu: standard deviation of that texture.
        level_mm: the z that a scan of this patient is centred on.
    """

    blobs: tuple[Blob, ...]
    waves: NDArray[np.float64]
    texture_hu: float
    level_mm: float


def make_patient(rng: np.random.Generator) -> Patient:
    """A new patient: build, organs, contrast phase and level are drawn from ``rng``."""
    build = make_build(rng)
    blobs = [blob for part in PARTS for blob in part(build, rng)]
    wavelengths = rng.uniform(9, 60, 40)
    directions = rng.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = np.column_stack([directions * (2 * np.pi / wavelengths)[:, None], rng.uniform(0, 2 * np.pi, 40)])
    return Patient(tuple(blobs), waves, rng.uniform(2, 6), rng.uniform(-55, 70))


def draw_slice(patient: Patient, z_mm: float, size: int, pixel_mm: float) -> FloatArray:
    """One slice in HU: (size, size) float32, its edges smooth, x = y = 0 at pixel ``size // 2``."""
    along = ((np.arange(size) - size // 2) * pixel_mm).astype(np.float32)
    canvas = Canvas(along, z_mm, AIR)
    for blob in patient.blobs:
        canvas.paint(blob)
    soft = np.clip((canvas.hu + 180) / 80, 0, 1) * np.clip((400 - canvas.hu) / 150, 0, 1)
    return (canvas.hu + soft * _texture(patient, z_mm, along)).astype(np.float32)


def _texture(patient: Patient, z_mm: float, along: FloatArray) -> FloatArray:
    """A sum of plane waves: smooth, and nearly the same in neighbouring slices."""
    x, y, z, phase = patient.waves.T
    columns = np.exp(1j * np.outer(x, along)).astype(np.complex64)
    rows = np.exp(1j * (np.outer(y, along) + (z * z_mm + phase)[:, None])).astype(np.complex64)
    amplitude = np.float32(patient.texture_hu * math.sqrt(2 / len(x)))
    texture: FloatArray = amplitude * np.einsum("kr,kc->rc", rows, columns).real
    return texture
