"""Counts of invented blobs, on noise of full dose where none and where some are planted."""

import numpy as np
import pytest
from scipy import ndimage

from ctcycle.metrics.lesions.false_structures import RADII_MM, blob_peaks, detection_map, false_structures
from ctcycle.metrics.lesions.insertion import Lesion, gaussian_transfer, make_stamp

SPACING, SIZE = 0.7, 160
BLOB = make_stamp(Lesion(3.0, 40.0), SPACING, gaussian_transfer(0.6)).image_hu


def ct_noise(count, std, seed):
    """Noise with the spectrum of filtered back-projection, (count, H, W)."""
    axis = np.fft.fftfreq(SIZE)
    radial = np.hypot(axis[:, None], axis)
    white = np.random.default_rng(seed).normal(size=(count, SIZE, SIZE))
    noise = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(radial) * np.exp(-((radial / 0.3) ** 2))).real
    return noise * (std / noise.std())


def with_blobs(residuals, per_slice, seed=0):
    """Blobs of 40 HU, bright and dark, planted in residuals."""
    rng = np.random.default_rng(seed)
    planted = residuals.copy()
    for residual in planted:
        for _ in range(per_slice):
            row, column = rng.integers(0, SIZE - 32, 2)
            residual[row : row + 32, column : column + 32] += BLOB * rng.choice([-1, 1])
    return planted


@pytest.fixture(scope="module")
def null():
    return ct_noise(24, 18, 1)


def test_noise_of_full_dose_exceeds_the_threshold_once_a_slice(null):
    for found in false_structures(ct_noise(24, 18, 2), null, SPACING):
        assert found.null_per_slice == 1
        assert found.ratio == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize(
    "change", [lambda r: 0.4 * r, lambda r: r + 3, lambda r: ndimage.gaussian_filter(r, (0, 1, 1))]
)
def test_less_noise_a_shift_and_a_blur_invent_nothing(change, null):
    for found in false_structures(change(ct_noise(24, 18, 3)), null, SPACING):
        assert found.ratio < 2


def test_invented_blobs_are_caught(null):
    found = {f.radius_mm: f for f in false_structures(with_blobs(ct_noise(24, 18, 4), 3), null, SPACING)}
    assert tuple(found) == RADII_MM
    assert found[3.0].ratio > 2
    assert found[3.0].per_slice == pytest.approx(3 + 1, abs=1)


def test_masks_leave_blobs_out(null):
    planted = with_blobs(ct_noise(10, 18, 4), 3)
    nowhere = np.zeros((10, SIZE, SIZE), dtype=bool)
    assert {f.per_slice for f in false_structures(planted, null, SPACING, nowhere)} == {0.0}
    half = np.ones((24, SIZE, SIZE), dtype=bool)
    half[:, : SIZE // 2] = False
    _, found, _ = false_structures(null, null, SPACING, half, null_masks=half)
    assert found.ratio == 1


def test_a_blob_stands_where_it_was_put():
    residual = ct_noise(1, 5, 6)[0]
    residual[60:92, 100:132] += BLOB
    found = detection_map(residual, 3.0, SPACING)
    assert np.unravel_index(found.argmax(), found.shape) == pytest.approx((76, 116), abs=2)
    assert blob_peaks(found, 3.0, SPACING).max() == found.max()


def test_the_map_has_unit_deviation_and_ignores_scale(null):
    found = detection_map(null[0], 2.0, SPACING)
    assert found.std() == pytest.approx(1, abs=0.05)
    assert detection_map(7 * null[0] + 40, 2.0, SPACING) == pytest.approx(found)


def test_peaks_are_largest_within_a_radius():
    found = np.zeros((40, 40))
    found[10, 10], found[10, 12], found[30, 30] = 5, 4, -6
    assert sorted(blob_peaks(found, 3.0, 1.0)) == [5, 6]
    assert sorted(blob_peaks(found, 1.0, 1.0)) == [4, 5, 6]


def test_a_residual_of_nothing_has_no_blobs(null):
    for found in false_structures(np.zeros((2, SIZE, SIZE)), null, SPACING):
        assert found.ratio == 0


def test_empty_surroundings_of_a_strong_residual_have_finite_deviations():
    """Running sums of squares can round to below zero where the residual is next to nothing."""
    rng = np.random.default_rng(0)
    residual = np.zeros((96, 96))
    residual[:20] = rng.normal(0, 1000, (20, 96))
    for radius_mm in RADII_MM:
        assert np.isfinite(detection_map(residual, radius_mm, 1.0)).all()


def test_what_cannot_be_counted_is_refused(null):
    with pytest.raises(ValueError, match="both are needed"):
        false_structures([], null, SPACING)
    with pytest.raises(ValueError, match="no peak at all"):
        false_structures(null[:2], np.zeros((2, SIZE, SIZE)), SPACING)
