"""Analytic abdomen phantoms in HU: large differences between patients, small ones between slices of a patient."""

import math
from dataclasses import dataclass

import numpy as np

from ctcycle.simulation.anatomy.build import AIR, make_build
from ctcycle.simulation.anatomy.parts import PARTS
from ctcycle.simulation.blobs import Blob, Canvas, FloatArray
from ctcycle.simulation.texture import Texture

_SUBSLICES = 5


@dataclass(frozen=True)
class Patient:
    """A simulated patient, drawn slice by slice with `draw_slice`.

    Attributes:
        blobs: in painting order.
        texture: random structure of the tissues.
        texture_level: factor of this patient for the variation of each tissue, about 1.
        level_mm: z at the centre of this patient's scans.
    """

    blobs: tuple[Blob, ...]
    texture: Texture
    texture_level: float
    level_mm: float

    @property
    def reach_mm(self) -> float:
        """The radius of the circle around x = y = 0 that the body and the table fit into."""
        return max(blob.reach() for blob in self.blobs if math.isinf(blob.radii[2]) and not blob.inside)


def make_patient(rng: np.random.Generator) -> Patient:
    """Return a new patient; build, organs, contrast phase and level are drawn from ``rng``."""
    build = make_build(rng)
    blobs = [blob for part in PARTS for blob in part(build, rng)]
    texture_level, level_mm = rng.uniform(0.65, 1.35), rng.uniform(-55, 70)
    return Patient(tuple(blobs), Texture(rng.spawn(1)[0]), texture_level, level_mm)


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
    varied = (canvas.grain * patient.texture.planes(z_mm, along)).sum(axis=0)
    hu: FloatArray = np.maximum(canvas.hu + np.float32(patient.texture_level) * varied, np.float32(AIR))
    return hu
