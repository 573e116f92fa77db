"""Flat windows: where they are found, and that they are cut right."""

import numpy as np
import pytest

from ctcycle.metrics.windows import choose_windows, cut_windows, flat_windows, flatness_map


def body(size=160, noise_hu=0.0):
    """A square of soft tissue in air, with a bone in it."""
    hu = np.full((size, size), -1000.0)
    hu[20:140, 20:140] = 50.0
    hu[30:40, 30:40] = 700.0
    return hu + np.random.default_rng(3).normal(0, noise_hu, hu.shape) if noise_hu else hu


@pytest.mark.parametrize("noise_hu", [0.0, 40.0])
def test_windows_hold_flat_tissue_alone(noise_hu):
    clean = body()
    windows = flat_windows(body(noise_hu=noise_hu))
    assert len(windows) >= 4
    for row, column in windows:
        assert (clean[row : row + 32, column : column + 32] == 50).all()


def test_windows_do_not_overlap():
    taken = np.zeros((100, 133), int)
    for row, column in flat_windows(np.full((100, 133), 40.0), 32):
        taken[row : row + 32, column : column + 32] += 1
        assert taken[row : row + 32, column : column + 32].shape == (32, 32)
    assert taken.max() == 1
    assert taken.sum() == 3 * 4 * 32**2


def test_a_later_row_may_reach_under_an_earlier_window():
    corners = np.zeros((40, 40), bool)
    corners[[0, 0, 5, 8, 9], [10, 17, 3, 3, 30]] = True
    assert choose_windows(corners, 8) == [(0, 10), (8, 3), (9, 30)]


@pytest.mark.parametrize(
    ("low_hu", "high_hu", "flat"),
    [(20, 20, True), (20, 100, True), (20, 115, False), (-45, 0, False), (150, 195, False), (-39, 0, True)],
)
def test_limits_of_range_and_spread(low_hu, high_hu, flat):
    halves = np.full((64, 64), float(low_hu))
    halves[:, 32:] = high_hu
    assert flatness_map(halves, 64).all() == flat


def test_every_position_is_tried():
    hu = np.full((50, 60), -1000.0)
    hu[9:50, 9:60] = 60.0
    corners = np.argwhere(flatness_map(hu, 16))
    assert corners.max(0).tolist() == [34, 44]
    assert corners.min() == 13  # -1000 + 1060 Φ((d + 0.5) / 3) is above -30, 90 below the tissue, from d = 4 on


def test_a_slice_smaller_than_a_window_has_none():
    assert flat_windows(np.full((20, 64), 40.0)) == []
    assert cut_windows(np.full((20, 64), 40.0), []).shape == (0, 32, 32)


def test_windows_are_cut_where_they_are():
    hu = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    patches = cut_windows(hu, [(0, 0), (5, 30)], 32)
    assert patches.dtype == np.float64
    assert (patches[1] == hu[5:37, 30:62]).all()
