"""The floor of the error against closed forms, and on real pairs."""

import numpy as np
import pytest
from real_pairs import real_patches

from ctcycle.metrics.spectral.floor import compare_with_floor, error_floor
from ctcycle.metrics.spectral.spectra import radial_frequency

N = 32
PATCHES = 64


def white(sigma, rng, count=PATCHES):
    return rng.normal(0, sigma, (count, N, N))


def smooth_anatomy(rng):
    """Planes and parabolas of tens of HU, different in every patch."""
    y, x = np.mgrid[:N, :N] / N
    terms = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2])
    return np.tensordot(rng.normal(0, 30, (PATCHES, 6)), terms, 1)


def dose_pair(rng, sigma=20.0):
    """Full dose t + n, low dose t + n + m with three times the noise power of n in m."""
    full = smooth_anatomy(rng) + white(sigma, rng)
    return full + white(sigma * np.sqrt(3), rng), full


def test_shared_noise_in_closed_form():
    floor = error_floor(*dose_pair(np.random.default_rng(1)))
    assert floor.floor_hu == pytest.approx(20 * np.sqrt(0.75), rel=0.03)
    assert floor.full_dose_noise_hu == pytest.approx(20, rel=0.03)
    assert np.average(floor.coherence[2:]) == pytest.approx(0.25, abs=0.02)
    assert floor.patches == PATCHES


def test_texture_that_both_doses_share_in_closed_form():
    rng = np.random.default_rng(2)
    texture, sigma = 15.0, 20.0
    full = white(texture, rng) + white(sigma, rng)
    low = full + white(sigma * np.sqrt(3), rng)
    expected = (texture**2 + sigma**2) * 3 * sigma**2 / (texture**2 + 4 * sigma**2)
    assert error_floor(low, full).floor_hu == pytest.approx(np.sqrt(expected), rel=0.03)


def test_rings_add_up_to_the_whole():
    rng = np.random.default_rng(3)
    low, full = dose_pair(rng)
    floor = error_floor(low, full)
    error = compare_with_floor(low, full, floor)
    assert np.sum(floor.floor_by_ring_hu**2) == pytest.approx(floor.floor_hu**2)
    assert np.sum(error.error_by_ring_hu**2) == pytest.approx(error.error_hu**2)
    assert error.error_hu == pytest.approx(20 * np.sqrt(3), rel=0.03)


def test_coherence_of_independent_noise_has_no_bias():
    rng = np.random.default_rng(4)
    trials = np.array([error_floor(white(1, rng, 2), white(1, rng, 2)).coherence for _ in range(300)])
    bins = 2 * np.pi * 5  # of ring 5: uncorrected, the mean would be 1 / (2 * bins)
    assert abs(trials[:, 5].mean()) < 0.3 / (2 * bins)
    assert abs(trials[:, 2:17].mean()) < 0.001  # the rings of the corners have few bins


def test_the_best_linear_filter_stands_on_the_floor():
    low, full = dose_pair(np.random.default_rng(5))
    low, full = low - low.mean(0), full - full.mean(0)
    error = compare_with_floor(low / 4, full, error_floor(low, full))
    assert error.ratio == pytest.approx(1, abs=0.06)  # anatomy is scaled too, but is removed with the trend
    assert error.ratio_by_ring[3:] == pytest.approx(1, abs=0.1)


def test_a_constant_bias_does_not_count():
    low, full = dose_pair(np.random.default_rng(6))
    floor = error_floor(low, full)
    assert compare_with_floor(low / 4 + 7, full, floor).ratio == pytest.approx(
        compare_with_floor(low / 4, full, floor).ratio
    )


def test_perfect_prediction_has_the_floor_zero():
    full = white(10, np.random.default_rng(7))
    floor = error_floor(2 * full, full)
    assert floor.floor_hu == pytest.approx(0, abs=1e-6)
    assert np.isnan(compare_with_floor(full, full, error_floor(full, 0 * full)).ratio)


def test_planted_high_frequency_noise_is_named_by_its_rings():
    low, full = dose_pair(np.random.default_rng(8))
    floor = error_floor(low, full)
    gain = np.where(radial_frequency(N) > 0.4, 0.9, 0.25)
    left = np.fft.ifft2(np.fft.fft2(low) * gain).real
    found, clean = compare_with_floor(left, full, floor), compare_with_floor(low / 4, full, floor)
    assert found.ratio_above(0.4, floor) > 1.5
    assert clean.ratio_above(0.4, floor) < 1.1
    below = floor.frequency_per_px < 0.35
    assert found.ratio_by_ring[below][2:].max() < 1.2


def test_unequal_stacks_are_refused():
    rng = np.random.default_rng(9)
    full = white(1, rng)
    with pytest.raises(ValueError, match="cut the same windows of both"):
        error_floor(full[1:], full)
    with pytest.raises(ValueError, match="pass the 64 patches"):
        compare_with_floor(full[1:], full[1:], error_floor(full, full))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("kernel", "patients", "floor_hu", "share"),
    [("B30f", {"L067", "L143"}, 18.1, 0.80), ("D45f", {"L096"}, 35.8, 0.87), ("D45f", {"L096", "L143"}, 38.0, 0.89)],
)
def test_floor_of_real_pairs(real_data, kernel, patients, floor_hu, share):
    floor = error_floor(*real_patches(real_data, kernel, patients))
    assert floor.floor_hu == pytest.approx(floor_hu, rel=0.02)
    assert floor.floor_hu / floor.full_dose_noise_hu == pytest.approx(share, abs=0.01)
