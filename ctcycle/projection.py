"""Forward projection: what the rays of a parallel-beam scanner lose on their way through a slice."""

import math

import numpy as np
from numpy.typing import NDArray

from ctcycle.errors import SeriesError


def view_angles(views: int) -> NDArray[np.float64]:
    """The angles of ``views`` projections, in degrees: evenly over [0, 180)."""
    return np.linspace(0.0, 180.0, views, endpoint=False)


def project(mu: NDArray[np.floating], pixel_mm: float, views: int) -> NDArray[np.float32]:
    """Line integrals of a slice: the Radon transform, in the geometry of `skimage.transform.radon`.

    Args:
        mu: (N, N) linear attenuation in 1/mm, zero where there is nothing.
        pixel_mm: side of a pixel, and width of a detector element.
        views: how many projections, see `view_angles`.

    Returns:
        (D, views) without unit, with D >= sqrt(2) N, so that no ray through the slice misses the detector; the axis
        of rotation, pixel (N // 2, N // 2), falls on element D // 2.

    Raises:
        SeriesError: the slice is not square.
    """
    from skimage.transform import radon

    if mu.ndim != 2 or mu.shape[0] != mu.shape[1]:
        raise SeriesError(f"projection: the slice has the shape {mu.shape}; only square slices are projected")
    size = len(mu)
    # Twice as fast, and the rays beyond the circle are exactly zero.
    in_circle = not mu[_outside_circle(size)].any()
    options = {"circle": in_circle, "preserve_range": True}
    path_pixels = radon(mu.astype(np.float32), view_angles(views), **options)  # type: ignore[no-untyped-call]
    return _widen(path_pixels, math.ceil(math.sqrt(2) * size)) * np.float32(pixel_mm)


def _outside_circle(size: int) -> NDArray[np.bool_]:
    along = np.arange(size) - size // 2
    return along[:, None] ** 2 + along**2 > (size // 2) ** 2


def _widen(sinogram: NDArray[np.float32], detectors: int) -> NDArray[np.float32]:
    """Air on both sides, so that element n // 2 of the n there were becomes ``detectors // 2``."""
    missing = detectors - len(sinogram)
    before = detectors // 2 - len(sinogram) // 2
    return np.pad(sinogram, ((before, missing - before), (0, 0)))
