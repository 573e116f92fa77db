"""Discs in closed form: line integrals without pixels, so that their edges are exact, and their reconstruction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct.hounsfield import MU_WATER
from ctcycle.evaluation.physics.settings import PhysicsSettings
from ctcycle.simulation.projection import view_angles
from ctcycle.simulation.reconstruction import elements_per_pixel, reconstruct, reconstruct_many


@dataclass(frozen=True)
class Disc:
    """A uniform disc.

    Attributes:
        centre_px: (row, column).
        radius_px: its radius.
        contrast_hu: added to what is below it.
    """

    centre_px: tuple[float, float]
    radius_px: float
    contrast_hu: float


def line_integrals(discs: Sequence[Disc], settings: PhysicsSettings) -> NDArray[np.float32]:
    """Return the line integrals of discs in the geometry of `ctcycle.simulation.projection.project`.

    A ray at distance s from the centre crosses 2 √(R² - s²) of a disc. It is averaged over the width of the detector
    element, whose integral is known: (s √(R² - s²) + R² arcsin(s / R)).

    Args:
        discs: their contrasts add up.
        settings: pixels, views and kernel; the kernel decides how many elements a pixel has.

    Returns:
        (D, views), dimensionless; D is `elements_per_pixel` times that of ``project``.
    """
    fineness = elements_per_pixel(settings.kernel)
    detectors = int(np.ceil(np.sqrt(2) * settings.size))
    edges = (np.arange(detectors * fineness + 1) - 0.5 - detectors * fineness // 2) / fineness
    angles = np.deg2rad(view_angles(settings.views))
    middle = settings.size // 2
    total = np.zeros((detectors * fineness, settings.views))
    for disc in discs:
        row, column = disc.centre_px
        crossing = (column - middle) * np.cos(angles) - (row - middle) * np.sin(angles)
        first = int(np.clip((crossing.min() - disc.radius_px - edges[0]) * fineness - 1, 0, len(total)))
        last = int(np.clip((crossing.max() + disc.radius_px - edges[0]) * fineness + 2, 0, len(total)))
        whole = _area_before(edges[first : last + 1, None] - crossing, disc.radius_px)
        total[first:last] += np.diff(whole, axis=0) * (fineness * disc.contrast_hu)
    return (total * (settings.pixel_mm * MU_WATER / 1000)).astype(np.float32)


def disc_image(discs: Sequence[Disc], settings: PhysicsSettings) -> NDArray[np.float32]:
    """Return what filtered back-projection shows of discs without noise: (size, size), in HU above air."""
    return np.asarray(reconstructed(line_integrals(discs, settings), settings), np.float32)


def reconstructed(sinogram: NDArray[np.inexact[Any]], settings: PhysicsSettings) -> NDArray[np.inexact[Any]]:
    """Return the slice of a sinogram (D, views), real or complex, in HU above air; the noise of one is noise in HU."""
    fineness = elements_per_pixel(settings.kernel)
    mu = reconstruct(sinogram, settings.pixel_mm, settings.size, settings.kernel, fineness)
    return mu * np.float32(1000.0 / MU_WATER)


def reconstructed_many(
    sinograms: Sequence[NDArray[np.complexfloating[Any]]], settings: PhysicsSettings
) -> NDArray[np.complex64]:
    """Return the slices (K, size, size) of several complex sinograms, as `reconstructed` does, several times faster."""
    fineness = elements_per_pixel(settings.kernel)
    mu = reconstruct_many(sinograms, settings.pixel_mm, settings.size, settings.kernel, fineness)
    return np.asarray(mu * np.float32(1000.0 / MU_WATER), np.complex64)


def _area_before(distance: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Area of a disc on one side of a line at a signed distance from its centre, up to a constant."""
    s = np.clip(distance, -radius, radius)
    area: NDArray[np.float64] = s * np.sqrt(radius**2 - s**2) + radius**2 * np.arcsin(s / radius)
    return area
