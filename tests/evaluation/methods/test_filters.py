"""Filters whose strength comes from the slice's own noise."""

import numpy as np
import pytest
from scipy import ndimage

from ctcycle.evaluation.methods.filters import CLASSICAL
from ctcycle.metrics.noise import soft_tissue_noise


def slice_with_noise(std, seed=0):
    """Two tissues with a straight border, inside air: clean and noisy, float32 HU."""
    clean = np.full((128, 128), -1000.0)
    clean[16:112, 16:112] = 20.0
    clean[16:112, 64:112] = 110.0
    noise = np.random.default_rng(seed).normal(0, 1, clean.shape)
    return clean.astype(np.float32), (clean + std * noise).astype(np.float32)


def rmse(a, b):
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("name", CLASSICAL)
def test_shape_and_type_are_kept_and_the_input_is_not_touched(name):
    _, noisy = slice_with_noise(30)
    before = noisy.copy()
    output = CLASSICAL[name](noisy)
    assert output.shape == noisy.shape
    assert output.dtype == np.float32
    assert np.array_equal(noisy, before)


def test_input_is_the_input():
    _, noisy = slice_with_noise(30)
    assert np.array_equal(CLASSICAL["input"](noisy), noisy)


def test_constant_is_the_mean_with_padding_as_air():
    hu = np.full((20, 20), -2000.0, np.float32)
    hu[:10] = 100
    assert np.array_equal(CLASSICAL["constant"](hu), np.full((20, 20), -450.0, np.float32))


def test_gaussian_follows_its_rule():
    _, noisy = slice_with_noise(60)
    sigma = (soft_tissue_noise(noisy) / 240) ** (1 / 3)
    assert sigma == pytest.approx((60 / 240) ** (1 / 3), rel=0.05)
    assert CLASSICAL["gaussian"](noisy) == pytest.approx(ndimage.gaussian_filter(noisy.astype(float), sigma), abs=0.01)


@pytest.mark.parametrize("std", [15.0, 60.0, 120.0])
@pytest.mark.parametrize("name", ["gaussian", "nlm"])
def test_filters_come_nearer_to_the_truth_in_tissue(name, std):
    clean, noisy = slice_with_noise(std)
    share = 0.9 if (name, std) == ("gaussian", 15.0) else 0.75  # the Gaussian's rule is for real, correlated noise
    inside = np.s_[24:104, 24:104]
    assert rmse(CLASSICAL[name](noisy)[inside], clean[inside]) < share * rmse(noisy[inside], clean[inside])


@pytest.mark.parametrize("std", [15.0, 60.0, 120.0])
def test_non_local_means_grows_with_the_noise(std):
    clean, noisy = slice_with_noise(std)
    flat = np.s_[30:100, 24:56]
    assert rmse(CLASSICAL["nlm"](noisy)[flat], clean[flat]) < 0.075 * std


def test_non_local_means_keeps_the_border_that_the_gaussian_blurs():
    clean, noisy = slice_with_noise(20)
    border = np.s_[30:100, 61:67]
    error = {name: rmse(CLASSICAL[name](noisy)[border], clean[border]) for name in ("gaussian", "nlm")}
    assert error["nlm"] < 0.8 * error["gaussian"]


@pytest.mark.parametrize("name", ["gaussian", "nlm"])
def test_where_no_noise_can_be_measured_nothing_changes(name):
    air = np.random.default_rng(0).normal(-1000, 5, (64, 64)).astype(np.float32)
    assert np.array_equal(CLASSICAL[name](air), air)
    clean, _ = slice_with_noise(0)
    assert np.array_equal(CLASSICAL[name](clean), clean)
