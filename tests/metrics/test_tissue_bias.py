"""Bias and slope that were put in, and bias and noise of a blur in closed form."""

import numpy as np
import pytest
from scipy import ndimage

from ctcycle.metrics.tissue_bias import (
    TISSUES_HU,
    add_errors,
    air_free_bias_hu,
    slice_errors,
    split_bias_and_noise,
    tissue_bias,
    tissue_masks,
)

VALUES = {"air": -1000, "lung": -780, "fat": -105, "soft": 70, "bone": 600}


def body(size=240):
    """Five tissues and their edges, in HU, without noise."""
    hu = np.full((size, size), -1000.0)
    hu[20:220, 20:220] = -105
    hu[30:210, 30:210] = 70
    hu[40:120, 40:100] = -780
    hu[150:190, 60:100] = 600
    return ndimage.gaussian_filter(hu, 0.7)


def judge(output, reference):
    return tissue_bias([slice_errors(output, reference)])


def test_tissues_are_where_they_were_put():
    masks = tissue_masks(body())
    for name, mask in masks.tissues.items():
        assert mask.sum() > 300
        assert body()[mask].mean() == pytest.approx(VALUES[name], abs=2)
        assert not (mask & masks.edges).any()
    assert masks.edges.sum() > 2000
    assert not (masks.outside_air & masks.tissues["air"]).any()


def test_identity_has_no_bias():
    found = judge(body(), body())
    assert {bias.mean_hu for bias in found.tissues.values()} == {0.0}
    assert found.edges.mean_hu == found.outside_air.mean_hu == 0
    assert found.slope == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("noise", [0.0, 20.0])
def test_a_shift_of_soft_tissue_is_caught(noise):
    rng = np.random.default_rng(3)
    reference = body() + rng.normal(0, noise, (240, 240))
    shift = 3.0 * (np.abs(body() - 70) < 50)
    output = body() + shift + rng.normal(0, noise / 2, (240, 240))
    before, after = judge(output - shift, reference), judge(output, reference)
    for name in TISSUES_HU:
        change = after.tissues[name].mean_hu - before.tissues[name].mean_hu
        assert change == pytest.approx(3.0 if name == "soft" else 0.0, abs=0.1)
    assert after.tissues["soft"].mean_hu > 0.5
    assert after.tissues["soft"].mean_hu == pytest.approx(3.0, abs=0.1 if noise == 0 else 0.6)


@pytest.mark.parametrize("noise", [0.0, 20.0])
@pytest.mark.parametrize("gain", [1.0, 1.02])
def test_a_gain_is_caught(gain, noise):
    rng = np.random.default_rng(3)
    reference = body() + rng.normal(0, noise, (240, 240))
    found = judge(gain * body(), reference)
    assert found.slope == pytest.approx(gain, abs=0.001)
    assert found.tissues["soft"].mean_hu == pytest.approx((gain - 1) * 70, abs=0.1 if noise == 0 else 0.6)
    if gain > 1:
        assert found.tissues["soft"].mean_hu > 0.5


def test_limits_of_agreement_are_over_patients():
    shifts = np.array([-1.0, 0.0, 2.0, 5.0])
    found = tissue_bias([slice_errors(body() + shift, body()) for shift in shifts]).tissues["lung"]
    assert found.patients == 4
    assert found.by_patient_hu == pytest.approx(shifts)
    assert found.mean_hu == pytest.approx(1.5)
    assert (found.low_hu, found.high_hu) == pytest.approx(
        (1.5 - 1.96 * shifts.std(ddof=1), 1.5 + 1.96 * 2.6458), abs=1e-3
    )


def test_slices_of_a_patient_are_weighted_by_their_pixels():
    first, second = slice_errors(body() + 1, body()), slice_errors(body()[:130] + 4, body()[:130])
    one = tissue_bias([add_errors([first, second])])
    lung = [errors.pixels[1] for errors in (first, second)]
    assert one.tissues["lung"].mean_hu == pytest.approx((lung[0] + 4 * lung[1]) / sum(lung))
    assert np.isnan(one.tissues["lung"].low_hu)


def test_a_missing_tissue_is_left_out():
    water = np.full((80, 80), 60.0)
    found = tissue_bias([slice_errors(water + 2, water), slice_errors(body(), body())])
    assert found.tissues["bone"].patients == 1
    assert found.tissues["soft"].patients == 2
    assert np.isnan(found.tissues["bone"].by_patient_hu[0])
    alone = tissue_bias([slice_errors(water + 2, water)])
    assert np.isnan([alone.tissues["bone"].mean_hu, alone.slope]).all()


def test_edges_are_told_from_tissue():
    found = judge(ndimage.gaussian_filter(body(), 0.7) + 50 * tissue_masks(body()).edges, body())
    assert found.edges.mean_hu == pytest.approx(50, abs=1)
    assert abs(found.tissues["soft"].mean_hu) < 0.1


def test_pixels_outside_the_window_are_counted():
    output, reference = body(), body()
    output[:3], reference[-1] = 1500, -1024
    errors = slice_errors(output, reference, hu_window=(-1010.0, 1000.0))
    found = tissue_bias([errors])
    assert found.output_outside_window == pytest.approx(3 / 240)
    assert found.reference_outside_window == pytest.approx(1 / 240)


def test_clipped_air_does_not_count():
    noise = np.random.default_rng(1).normal(0, 20, (240, 240))
    output = np.maximum(body() + noise, -1000)
    assert np.mean(output - body()) > 2
    assert air_free_bias_hu(output, body()) == pytest.approx(0, abs=0.5)
    assert air_free_bias_hu(output, body()) == judge(output, body()).outside_air.mean_hu
    assert judge(output, body()).slope == pytest.approx(1, abs=1e-3)
    assert np.isnan(air_free_bias_hu(np.full((9, 9), -1000.0), np.full((9, 9), -1000.0)))


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_bias_and_noise_of_a_blur_in_closed_form(sigma):
    rng = np.random.default_rng(8)
    wave = np.broadcast_to(60 + 30 * np.cos(2 * np.pi * np.arange(128) / 8), (128, 128))
    noisy = wave + rng.normal(0, 20, (50, 128, 128))
    outputs = ndimage.gaussian_filter(noisy, (0, sigma, sigma), mode="wrap", truncate=8)
    found = split_bias_and_noise(outputs, wave)
    lost = 1 - np.exp(-2 * (np.pi * sigma / 8) ** 2)
    assert found.bias_hu2 == pytest.approx(30**2 / 2 * lost**2, rel=0.01)
    assert found.noise_hu2 == pytest.approx(20**2 / (4 * np.pi * sigma**2), rel=0.02)
    assert found.mse_hu2 == pytest.approx(found.bias_hu2 + found.noise_hu2)


def test_without_bias_the_noise_of_the_mean_is_no_bias():
    truth = np.full((64, 64), 40.0)
    outputs = truth + np.random.default_rng(5).normal(0, 20, (4, 64, 64))
    found = split_bias_and_noise(outputs, truth)
    assert abs(found.bias_hu2) < 5  # 400 / 4 without the correction
    half = np.zeros((64, 64), dtype=bool)
    half[:32] = True
    assert split_bias_and_noise(outputs, truth + 7 * ~half, half).bias_hu2 == pytest.approx(0, abs=5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="two equal ones"):
        slice_errors(body(), body()[:10])
    with pytest.raises(ValueError, match="no patient"):
        tissue_bias([])
    for outputs in (np.zeros((1, 8, 8)), np.zeros((4, 8, 9))):
        with pytest.raises(ValueError, match="two or more outputs"):
            split_bias_and_noise(outputs, np.zeros((8, 8)))
