# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Pixel grids of two series: check that they are the same, and find the part of the slices that both contain."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from scripts.ct.series import SlicePlane
from scripts.errors import SeriesError

_SAME_SIZE = 1e-3
_SAME_DIRECTION = 1e-3
_WHOLE_PX = 0.05
ValueT = TypeVar("ValueT", bound=np.generic)


class Gridded(Protocol):
    """A series with its geometry, such as `SeriesInfo`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between slices, rows, columns; 0.0 if unknown."""

    @property
    def plane(self) -> SlicePlane | None:
        """Orientation and location of the slices; None if unknown."""


class Window(NamedTuple):
    """A rectangle of pixels: its first row and column, and its size."""

    top: int
    left: int
    rows: int
    columns: int

    def cut(self, image: NDArray[ValueT]) -> NDArray[ValueT]:
        """Return the rectangle of an image (H, W), as a view."""
        return image[self.top : self.top + self.rows, self.left : self.left + self.columns]


def common_windows(
    low: Gridded, full: Gridded, matched: Sequence[tuple[int, int]]
) -> tuple[Window | None, Window | None]:
    """Return the windows of two series that show the same anatomy pixel by pixel; None if whole slices do.

    Series that are shifted by whole pixels overlap exactly. Geometry that is missing in a series is not compared.

    Args:
        low: the low-dose series.
        full: the full-dose series, with slices of the same size.
        matched: indices of slices at the same position in both.

    Raises:
        SeriesError: the pixels differ in size or orientation, or are shifted by a part of a pixel. The message names
            neither series.
    """
    _check_pixel_sizes(low.spacing_mm[1:], full.spacing_mm[1:])
    if low.plane is None or full.plane is None:
        return None, None
    _check_directions(low.plane.directions, full.plane.directions)
    if not matched or not all(low.spacing_mm[1:]):
        return None, None
    down, right = _whole_shift(low, low.plane, full.plane, matched)
    return _overlap(down, right, low.shape[1:])


def _check_pixel_sizes(low: Sequence[float], full: Sequence[float]) -> None:
    known = all((*low, *full))
    if known and np.max(np.abs(np.subtract(low, full)) / np.array(full)) > _SAME_SIZE:
        raise SeriesError(f"pixel sizes differ ({_size(low)} and {_size(full)} mm)")


def _size(spacing: Sequence[float]) -> str:
    return " x ".join(f"{side:.5g}" for side in spacing)


def _check_directions(low: Sequence[float], full: Sequence[float]) -> None:
    if np.max(np.abs(np.subtract(low, full))) > _SAME_DIRECTION:
        found = " and ".join(" ".join(f"{value:.4g}" for value in directions) for directions in (low, full))
        raise SeriesError(f"orientations differ (direction cosines {found})")


def _whole_shift(
    low: Gridded, low_plane: SlicePlane, full_plane: SlicePlane, matched: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Return by how many rows and columns the low-dose pixels are further down and right."""
    low_mm, full_mm = (
        np.array([plane.corners_mm[index] for index in indices])
        for plane, indices in zip((low_plane, full_plane), zip(*matched, strict=True), strict=True)
    )
    along_row, along_column = np.reshape(low_plane.directions, (2, 3))
    shift_px = (low_mm - full_mm) @ np.stack([along_column, along_row], axis=1) / low.spacing_mm[1:]
    whole = np.rint(np.median(shift_px, axis=0))
    worst = int(np.argmax(np.abs(shift_px - whole).max(axis=1)))
    if np.abs(shift_px[worst] - whole).max() > _WHOLE_PX:
        (down, right), corners = shift_px[worst], (low_mm[worst], full_mm[worst])
        found = " and ".join(", ".join(f"{value:.6g}" for value in corner) for corner in corners)
        raise SeriesError(
            f"in-plane positions differ by {down:.2f} rows and {right:.2f} columns, which is no whole number of pixels "
            f"for all slices (first pixels at {found} mm)"
        )
    return int(whole[0]), int(whole[1])


def _overlap(down: int, right: int, shape: tuple[int, int]) -> tuple[Window | None, Window | None]:
    if down == right == 0:
        return None, None
    rows, columns = shape[0] - abs(down), shape[1] - abs(right)
    if rows <= 0 or columns <= 0:
        raise SeriesError(f"slices do not overlap: they are {down} rows and {right} columns apart")
    low = Window(max(0, -down), max(0, -right), rows, columns)
    return low, Window(max(0, down), max(0, right), rows, columns)
