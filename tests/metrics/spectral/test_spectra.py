"""Detrending and rings in closed form."""

import numpy as np
import pytest

from ctcycle.metrics.spectral.spectra import detrend, radial_frequency, spectrum_rings


def test_a_polynomial_of_second_order_leaves_nothing():
    y, x = np.mgrid[:32, :32]
    patches = np.stack([3 + 2 * x - y + 0.1 * x * y - 0.2 * y**2, 40.0 + 0 * x])
    assert detrend(patches) == pytest.approx(np.zeros((2, 32, 32)), abs=1e-9)


def test_a_cubic_is_not_removed():
    _, x = np.mgrid[:32, :32]
    assert detrend((x / 31.0 - 0.5)[None] ** 3).std() > 0.01


def test_white_noise_keeps_all_but_six_degrees_of_freedom():
    rest = detrend(np.random.default_rng(0).normal(0, 1, (400, 16, 16)))
    assert (rest**2).mean() == pytest.approx((16**2 - 6) / 16**2, rel=0.01)


@pytest.mark.parametrize("shape", [(32, 32), (2, 32, 31), (0, 32, 32), (3, 4, 4)])
def test_what_is_no_stack_of_square_patches_is_refused(shape):
    with pytest.raises(ValueError, match="patches: shape"):
        detrend(np.zeros(shape))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        detrend(np.full((1, 16, 16), np.nan))


def test_rings_share_out_every_bin():
    rings = spectrum_rings(32)
    assert rings.bins.sum() == 32**2
    assert rings.bins[:2].tolist() == [1, 8]
    assert rings.frequency_per_px[:-1] == pytest.approx(np.arange(len(rings.bins) - 1) / 32, abs=0.25 / 32)
    assert rings.frequency_per_px[-1] == pytest.approx(np.sqrt(0.5))  # one bin, the corner
    assert rings.mean(radial_frequency(32)) == pytest.approx(rings.frequency_per_px)
    assert rings.total(np.ones((32, 32))) == pytest.approx(rings.bins)
