"""Flat windows of soft tissue: places where a slice holds noise and little else."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

WINDOW_PX = 32
"""Side of a window: wide enough for the spectrum of CT noise, small enough to fit between the borders of organs."""

SMOOTHING_PX = 3.0
TISSUE_HU = (-40.0, 190.0)
"""Muscle, organs and blood with or without contrast medium; neither fat nor bone."""

MAX_SPREAD_HU = 90.0
"""Largest minus smallest value of the smoothed slice in a window: several tissues, but no border to air or bone."""


def flatness_map(slice_hu: NDArray[np.floating], size: int = WINDOW_PX) -> NDArray[np.bool_]:
    """Return where a window of flat soft tissue has its top left corner.

    Flatness is judged on the slice smoothed with a Gaussian of `SMOOTHING_PX`, so that noise neither hides tissue nor
    makes it: all values within `TISSUE_HU`, and their spread below `MAX_SPREAD_HU`.

    Args:
        slice_hu: (H, W), HU.
        size: side of the window, pixels.

    Returns:
        (H - size + 1, W - size + 1), True at the corners; empty where the slice is smaller than a window.
    """
    smooth = ndimage.gaussian_filter(slice_hu.astype(np.float64), SMOOTHING_PX, mode="reflect")
    inside = tuple(slice(size // 2, size // 2 + max(side - size + 1, 0)) for side in smooth.shape)
    lowest = ndimage.minimum_filter(smooth, size)[inside]
    highest = ndimage.maximum_filter(smooth, size)[inside]
    low, high = TISSUE_HU
    flat: NDArray[np.bool_] = (lowest >= low) & (highest <= high) & (highest - lowest < MAX_SPREAD_HU)
    return flat


def choose_windows(corners: NDArray[np.bool_], size: int = WINDOW_PX) -> list[tuple[int, int]]:
    """Choose windows that do not overlap, row by row from the top left.

    Args:
        corners: where a window may have its top left corner, see `flatness_map`.
        size: side of the window, pixels.

    Returns:
        (row, column) of the top left corners.
    """
    free = corners.copy()
    chosen = []
    for row, column in np.argwhere(corners):
        if free[row, column]:
            chosen.append((int(row), int(column)))
            free[row : row + size, max(column - size + 1, 0) : column + size] = False
    return chosen


def flat_windows(slice_hu: NDArray[np.floating], size: int = WINDOW_PX) -> list[tuple[int, int]]:
    """Find windows of flat soft tissue that do not overlap.

    Args:
        slice_hu: (H, W), HU. Search one image of a slice and cut all of its images at the same places.
        size: side of the window, pixels.

    Returns:
        (row, column) of the top left corners; empty where there is no flat tissue.
    """
    return choose_windows(flatness_map(slice_hu, size), size)


def cut_windows(
    slice_hu: NDArray[np.floating], corners: Sequence[tuple[int, int]], size: int = WINDOW_PX
) -> NDArray[np.float64]:
    """Cut windows out of a slice.

    Args:
        slice_hu: (H, W), HU.
        corners: K times (row, column) of the top left corner.
        size: side of the window, pixels.

    Returns:
        (K, size, size) float64, HU; K may be 0.
    """
    patches = [slice_hu[row : row + size, column : column + size] for row, column in corners]
    return np.array(patches, dtype=np.float64).reshape(len(patches), size, size)
