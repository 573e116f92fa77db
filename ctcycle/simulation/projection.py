"""Parallel-beam forward projection of a slice."""

import math

import numpy as np
from numpy.typing import NDArray

from ctcycle.errors import SeriesError


def view_angles(views: int) -> NDArray[np.float64]:
    """Return the angles of ``views`` projections, in degrees, evenly spaced over [0, 180)."""
    return np.linspace(0.0, 180.0, views, endpoint=False)


def project(mu: NDArray[np.floating], pixel_mm: float, views: int) -> NDArray[np.float32]:
    """Return the line integrals of a slice: its Radon transform, in the geometry of `skimage.transform.radon`.

    Args:
        mu: (N, N) linear attenuation in 1/mm, zero in air.
        pixel_mm: side of a pixel, and width of a detector element.
        views: number of projections; see `view_angles`.

    Returns:
        (D, views), dimensionless, with D >= sqrt(2) N so that every ray through the slice hits the detector; the
        rotation axis, pixel (N // 2, N // 2), projects onto element D // 2.

    Raises:
        SeriesError: the slice is not square.
    """
    if mu.ndim != 2 or mu.shape[0] != mu.shape[1]:
        raise SeriesError(f"projection: slice of shape {mu.shape}; only square slices can be projected")
    size = len(mu)
    detectors = math.ceil(math.sqrt(2) * size)
    # Rays outside the circle are exactly zero if it is empty there, and the smaller square rotates twice as fast.
    half = detectors // 2 if mu[_outside_circle(size)].any() else size // 2
    path_pixels = _project_square(_centred(mu.astype(np.float32), half, size // 2), view_angles(views))
    return _widen(path_pixels, detectors) * np.float32(pixel_mm)


def _centred(mu: NDArray[np.float32], half: int, centre: int) -> NDArray[np.float32]:
    """Return the slice in a square of 2 half + 1 pixels, with pixel ``centre`` in the middle of both axes."""
    before, after = half - centre, half + 1 + centre - len(mu)
    return np.pad(mu, (before, after))


def _project_square(square: NDArray[np.float32], angles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the column sums of the rotated square; its row sums give the view 90 degrees further on."""
    from skimage.transform import warp

    half, views = len(square) // 2, len(angles)
    quarter = views // 2 if views % 2 == 0 else views
    sums = np.empty((len(square), views), np.float32)
    for view, angle in enumerate(np.deg2rad(angles[:quarter])):
        cos, sin = math.cos(angle), math.sin(angle)
        to_middle = half * np.array([1 - cos - sin, 1 + sin - cos])
        turn = np.array([[cos, sin, to_middle[0]], [-sin, cos, to_middle[1]], [0, 0, 1]])
        turned = warp(square, turn, clip=False, preserve_range=True)  # type: ignore[no-untyped-call]
        sums[:, view] = turned.sum(0)
        if quarter < views:
            sums[:, view + quarter] = turned.sum(1)[::-1]
    return sums


def _outside_circle(size: int) -> NDArray[np.bool_]:
    along = np.arange(size) - size // 2
    return along[:, None] ** 2 + along**2 > (size // 2) ** 2


def _widen(sinogram: NDArray[np.float32], detectors: int) -> NDArray[np.float32]:
    """Pad with air on both sides, or crop one element, so that the middle element becomes ``detectors // 2``."""
    before = detectors // 2 - len(sinogram) // 2
    after = detectors - len(sinogram) - before
    return np.pad(sinogram, ((before, max(after, 0)), (0, 0)))[:detectors]
