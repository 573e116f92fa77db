"""Grids of two series: what counts as the same, what overlaps, what is refused."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from ctcycle.ct.grids import Window, common_windows
from ctcycle.ct.series import SlicePlane
from ctcycle.errors import SeriesError

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ALL = [(0, 0), (1, 1), (2, 2)]


@dataclass(frozen=True)
class Grid:
    """A series with three slices of 20 x 30 pixels."""

    shape: tuple[int, int, int] = (3, 20, 30)
    spacing_mm: tuple[float, float, float] = (2.0, 0.8, 0.5)
    plane: SlicePlane | None = None


def grid(right_px: float = 0, down_px: float = 0, tilt_mm: float = 0, first: int = 0) -> Grid:
    corners = tuple(
        (-150.0 + 0.5 * right_px, -120.0 + 0.8 * down_px + tilt_mm * number, 2.0 * number)
        for number in range(first, first + 3)
    )
    return Grid(plane=SlicePlane(AXIAL, corners))


def test_the_same_grid_is_used_completely() -> None:
    assert common_windows(grid(), grid(0.04, -0.04), ALL) == (None, None)


@pytest.mark.parametrize(("right", "down"), [(2, 0), (-3, 0), (0, 4), (5, -6), (-1.04, -1.96)])
def test_series_shifted_by_whole_pixels_overlap_where_the_positions_agree(right: float, down: float) -> None:
    low, full = common_windows(grid(right, down), grid(), ALL)
    x, y = np.meshgrid(np.arange(30) * 0.5, np.arange(20) * 0.8)
    np.testing.assert_allclose(low.cut(x) + 0.5 * round(right), full.cut(x))
    np.testing.assert_allclose(low.cut(y) + 0.8 * round(down), full.cut(y))
    assert low[2:] == full[2:] == (20 - abs(round(down)), 30 - abs(round(right)))


def test_matched_slices_are_compared_not_those_of_the_same_number() -> None:
    tilted, later = grid(tilt_mm=0.5), grid(tilt_mm=0.5, first=1)
    assert common_windows(tilted, later, [(1, 0), (2, 1)]) == (None, None)
    with pytest.raises(SeriesError, match="in-plane positions differ"):
        common_windows(tilted, later, [(0, 0)])


@pytest.mark.parametrize(("right", "down"), [(0.1, 0), (0, -0.5), (2, 1.3)])
def test_a_shift_by_a_part_of_a_pixel_is_refused_with_both_positions(right: float, down: float) -> None:
    message = rf"positions differ by {down:.2f} rows and {right:.2f} columns, .*first pixels at .* and -150, -120, 0 mm"
    with pytest.raises(SeriesError, match=message):
        common_windows(grid(right, down), grid(), ALL)


def test_a_shift_that_changes_between_slices_is_refused() -> None:
    with pytest.raises(SeriesError, match="no whole number of pixels for all slices"):
        common_windows(grid(tilt_mm=0.8), grid(), ALL)


@pytest.mark.parametrize(("factor", "same"), [(1.0009, True), (1.0011, False), (1 / 1.03, False)])
@pytest.mark.parametrize("axis", [1, 2])
def test_pixel_sizes_may_differ_by_a_thousandth(factor: float, same: bool, axis: int) -> None:
    spacing = tuple(size * (factor if number == axis else 1) for number, size in enumerate(grid().spacing_mm))
    for plane in (None, grid().plane):
        other = Grid(spacing_mm=spacing, plane=plane)
        if same:
            assert common_windows(other, grid(), ALL) == (None, None)
        else:
            with pytest.raises(SeriesError, match=r"pixel sizes differ \(.* and 0\.8 x 0\.5 mm\)"):
                common_windows(other, grid(), ALL)


def test_other_orientations_are_refused_with_both() -> None:
    for angle, same in ((0.0005, True), (0.002, False)):
        c, s = np.cos(angle), np.sin(angle)
        turned = replace(grid(), plane=replace(grid().plane, directions=(c, s, 0.0, -s, c, 0.0)))
        if same:
            assert common_windows(turned, grid(), ALL) == (None, None)
        else:
            with pytest.raises(SeriesError, match=r"orientations differ \(direction cosines 1 0\.002 .* and 1 0 0 0 1"):
                common_windows(turned, grid(), ALL)


def test_slices_without_a_common_pixel_are_refused() -> None:
    assert common_windows(grid(29, 0), grid(), ALL)[0] == Window(0, 0, 20, 1)
    with pytest.raises(SeriesError, match="slices do not overlap: they are 0 rows and 30 columns apart"):
        common_windows(grid(30, 0), grid(), ALL)


def test_unknown_geometry_is_not_compared() -> None:
    unknown = Grid(spacing_mm=(0.0, 0.0, 0.0))
    assert common_windows(unknown, grid(5.5), ALL) == (None, None)
    assert common_windows(Grid(), grid(5.5), ALL) == (None, None)
    assert common_windows(replace(grid(5.5), spacing_mm=(0, 0, 0)), grid(), ALL) == (None, None)
    assert common_windows(grid(5.5), grid(), []) == (None, None)
