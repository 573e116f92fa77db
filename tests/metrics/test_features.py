"""Features against closed forms, and their concordance on Gaussian pairs."""

import numpy as np
import pytest
from scipy import ndimage

from ctcycle.metrics.features import FEATURES, concordance, feature_stability, window_features


@pytest.mark.parametrize(
    ("rho", "shift", "scale"), [(0.8, 0.0, 1.0), (0.8, 1.0, 1.0), (0.95, 0.5, 2.0), (-0.5, 0.0, 1.0)]
)
def test_concordance_of_gaussian_pairs_in_closed_form(rho, shift, scale):
    one, other = np.random.default_rng(2).normal(size=(2, 200_000))
    two = scale * (rho * one + np.sqrt(1 - rho**2) * other) + shift
    assert concordance(one, two) == pytest.approx(2 * rho * scale / (1 + scale**2 + shift**2), abs=0.01)
    assert concordance(two, one) == concordance(one, two)


def test_concordance_of_special_pairs():
    assert concordance([1, 2, 4], [1, 2, 4]) == 1
    assert concordance([3, 3], [3, 3]) == 1
    assert concordance([3, 3], [4, 4]) == 0
    for pair in ([1.0], [1.0]), ([1, 2], [1, 2, 3]):
        with pytest.raises(ValueError, match="as many of each"):
            concordance(*pair)


def test_first_order_features_of_white_noise_in_closed_form():
    hu = np.random.default_rng(4).normal(60, 80, (400, 400))
    found = window_features(hu)
    assert tuple(found) == FEATURES
    assert found["mean"] == pytest.approx(60, abs=1)
    assert found["sd"] == pytest.approx(80, rel=0.01)
    assert found["skewness"] == pytest.approx(0, abs=0.03)
    assert found["entropy"] == pytest.approx(np.log2(80 / 25 * np.sqrt(2 * np.pi * np.e)), abs=0.02)
    assert found["glcm_correlation"] == pytest.approx(0, abs=0.01)
    assert found["glcm_contrast"] == pytest.approx(2 * ((80 / 25) ** 2 + 1 / 12), rel=0.02)


def test_skewness_of_exponential_noise_in_closed_form():
    hu = np.random.default_rng(4).exponential(30, (500, 500))
    assert window_features(hu)["skewness"] == pytest.approx(2, abs=0.05)


def test_texture_of_stripes_by_hand():
    hu = np.tile([0.0, 25.0], (32, 16))
    found = window_features(hu)
    # neighbours differ by one bin in three of four directions, and never along the stripes
    assert found["entropy"] == 1
    assert found["glcm_contrast"] == pytest.approx(0.75)
    assert found["glcm_homogeneity"] == pytest.approx(0.75 * 0.5 + 0.25)
    assert found["glcm_energy"] == pytest.approx(np.sqrt(0.5), abs=1e-3)
    assert found["glcm_correlation"] == pytest.approx((-3 + 1) / 4, abs=1e-2)


def test_a_flat_window_has_no_texture():
    found = window_features(np.full((32, 32), 40.0))
    assert (found["sd"], found["skewness"], found["entropy"], found["glcm_contrast"]) == (0, 0, 0, 0)
    assert found["glcm_energy"] == 1


def test_bins_start_at_multiples_of_25_hu():
    assert window_features(np.tile([10.0, 24.0], (32, 16)))["entropy"] == 0
    assert window_features(np.tile([24.0, 26.0], (32, 16)))["entropy"] == 1


def test_a_blur_lowers_the_stability_of_texture_not_of_the_mean():
    rng = np.random.default_rng(7)
    full = [rng.normal(rng.uniform(40, 120), rng.uniform(15, 40), (32, 32)) for _ in range(30)]
    repeat = [rng.normal(hu.mean(), hu.std(), (32, 32)) for hu in full]
    blurred = [ndimage.gaussian_filter(hu, 1.0) for hu in repeat]
    same, lost = feature_stability(repeat, full), feature_stability(blurred, full)
    assert same["mean"] > 0.98
    assert same["sd"] > 0.98
    assert same["glcm_contrast"] > 0.95
    assert lost["mean"] > 0.98
    assert lost["sd"] < 0.5
    assert lost["glcm_contrast"] < 0.3
