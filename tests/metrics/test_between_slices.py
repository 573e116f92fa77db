"""Change between slices in closed form, and on real series."""

import numpy as np
import pydicom
import pytest
from real_pairs import read_hu
from scipy import ndimage

from ctcycle.metrics.between_slices import change_between_slices, slice_change


def correlated(correlation, rng, slices=10, size=96):
    """Slices of noise; each has this correlation with the next (a first-order autoregression)."""
    noise = rng.normal(0, 20, (slices, size, size))
    for z in range(1, slices):
        noise[z] = correlation * noise[z - 1] + np.sqrt(1 - correlation**2) * noise[z]
    return noise


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, -0.5])
def test_change_in_closed_form(correlation):
    volume = 50 + correlated(correlation, np.random.default_rng(0))
    found = change_between_slices(volume, volume)
    assert found.change == pytest.approx(1 - correlation, abs=0.03)
    assert found.ratio == 1
    assert found.windows == 9 * 9


def test_unequal_noise_in_closed_form():
    rng = np.random.default_rng(1)
    shared, own = rng.normal(0, 1, (2, 50, 32, 32))
    # Var(3s - (s + n)) over Var(3s) + Var(s + n)
    assert slice_change(3 * shared, shared + own) == pytest.approx((4 + 1) / (9 + 2), rel=0.03)


def test_offsets_and_gradients_between_slices_do_not_count():
    volume = 50 + correlated(0.5, np.random.default_rng(2))
    ramp = np.linspace(-5, 5, 10)[:, None, None] * np.linspace(0, 1, 96)
    assert change_between_slices(volume + ramp, volume).ratio == pytest.approx(1, abs=1e-6)


def test_planted_shuffled_slices_are_named():
    rng = np.random.default_rng(3)
    full = 50 + correlated(0.6, rng)
    shuffled = full[[3, 7, 0, 5, 9, 1, 6, 2, 8, 4]]
    found = change_between_slices(shuffled, full)
    assert found.change > 0.9
    assert found.ratio > 2


def test_planted_flicker_and_smoothing_along_z_are_named():
    rng = np.random.default_rng(4)
    full = 50 + correlated(0.5, rng)
    assert change_between_slices(full + rng.normal(0, 15, full.shape), full).ratio > 1.25
    assert change_between_slices(ndimage.uniform_filter1d(full, 3, axis=0), full).ratio < 0.8


def test_only_windows_that_are_flat_in_both_neighbours_count():
    volume = 50 + correlated(0.0, np.random.default_rng(5), slices=3)
    volume[1, :75] = 900  # 21 rows are left, too few for a window
    found = change_between_slices(volume, volume)
    assert found.windows == 0
    assert np.isnan(found.change)
    assert np.isnan(found.ratio)


def test_without_noise_there_is_no_change_to_tell():
    assert np.isnan(slice_change(np.full((2, 32, 32), 0.0), np.full((2, 32, 32), 0.0)))


@pytest.mark.parametrize("shapes", [((1, 64, 64), (1, 64, 64)), ((64, 64), (64, 64)), ((3, 64, 64), (2, 64, 64))])
def test_what_is_no_stack_of_slices_is_refused(shapes):
    with pytest.raises(ValueError, match="at least two neighbouring slices"):
        change_between_slices(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_unequal_patches_are_refused():
    with pytest.raises(ValueError, match="cut the same windows"):
        slice_change(np.zeros((2, 32, 32)), np.zeros((3, 32, 32)))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("series", "change"),
    [
        ("mayo2016_unpaired/L109_quarter_3mm_B30f", 0.41),  # 3 mm slices, 2 mm apart
        ("mayo2016_unpaired/L096_full_3mm_D45f_every_24th", 1.0),  # 48 mm apart: independent
    ],
)
def test_real_slices_that_overlap_share_noise(real_data, series, change):
    files = [file for file in (real_data / series).iterdir() if file.suffix.lower() in {".ima", ".dcm"}]
    files.sort(key=lambda file: pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient[2])
    volume = np.stack([read_hu(file) for file in files])
    assert change_between_slices(volume, volume).change == pytest.approx(change, abs=0.03)
