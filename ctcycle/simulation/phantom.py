"""Analytic abdomen phantoms in HU: large differences between patients, small ones between slices of a patient."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.simulation.anatomy import AIR, PARTS, make_build
from ctcycle.simulation.blobs import Blob, Canvas, FloatArray


@dataclass(frozen=True)
class Patient:
    """A simulated patient, drawn slice by slice with `draw_slice`.

    Attributes:
        blobs: in painting order.
        waves: (K, 4) soft-tissue texture: angular frequencies along x, y, z in 1/mm, and phases.
        texture_hu: standard deviation of the texture.
        level_mm: z at the centre of this patient's scans.
    """

    blobs: tuple[Blob, ...]
    waves: NDArray[np.float64]
    texture_hu: float
    level_mm: float


def make_patient(rng: np.random.Generator) -> Patient:
    """Return a new patient; build, organs, contrast phase and level are drawn from ``rng``."""
    build = make_build(rng)
    blobs = [blob for part in PARTS for blob in part(build, rng)]
    wavelengths = rng.uniform(9, 60, 40)
    directions = rng.normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = np.column_stack([directions * (2 * np.pi / wavelengths)[:, None], rng.uniform(0, 2 * np.pi, 40)])
    return Patient(tuple(blobs), waves, rng.uniform(2, 6), rng.uniform(-55, 70))


def draw_slice(patient: Patient, z_mm: float, size: int, pixel_mm: float) -> FloatArray:
    """Return one slice in HU, (size, size) float32 with smooth edges; x = y = 0 is at pixel ``size // 2``."""
    along = ((np.arange(size) - size // 2) * pixel_mm).astype(np.float32)
    canvas = Canvas(along, z_mm, AIR)
    for blob in patient.blobs:
        canvas.paint(blob)
    soft = np.clip((canvas.hu + 180) / 80, 0, 1) * np.clip((400 - canvas.hu) / 150, 0, 1)
    return (canvas.hu + soft * _texture(patient, z_mm, along)).astype(np.float32)


def _texture(patient: Patient, z_mm: float, along: FloatArray) -> FloatArray:
    """Return the texture as a sum of plane waves: smooth, and nearly equal in neighbouring slices."""
    x, y, z, phase = patient.waves.T
    columns = np.exp(1j * np.outer(x, along)).astype(np.complex64)
    rows = np.exp(1j * (np.outer(y, along) + (z * z_mm + phase)[:, None])).astype(np.complex64)
    amplitude = np.float32(patient.texture_hu * math.sqrt(2 / len(x)))
    texture: FloatArray = amplitude * np.einsum("kr,kc->rc", rows, columns).real
    return texture
