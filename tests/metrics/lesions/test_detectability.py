"""The channelised Hotelling observer against closed forms in white noise, and what must and must not lower d'."""

import numpy as np
import pytest
from scipy import ndimage, stats

from ctcycle.metrics.lesions.detectability import (
    ChannelOutputs,
    channel_outputs,
    contrast_for,
    detectability,
    detectability_gain,
    laguerre_gauss,
    unbiased_square,
)
from ctcycle.metrics.lesions.insertion import Lesion, gaussian_transfer, make_stamp

SPACING = 0.7
WIDTH_PX = 60 / 7


def gaussian_lesion(amplitude, size=33):
    pixel = np.arange(size) - size // 2
    return amplitude * np.exp(-np.pi * (pixel[:, None] ** 2 + pixel**2) / WIDTH_PX**2)


def observe(lesion_hu, count, std, rng, width_mm=6.0):
    """Channel outputs of ``count`` images with the lesion and as many without, in white noise."""
    noise = rng.normal(0, std, (2, count, *lesion_hu.shape))
    return channel_outputs(noise[0] + lesion_hu, noise[1], laguerre_gauss(width_mm, SPACING, len(lesion_hu)))


def test_channels_are_orthonormal():
    flat = laguerre_gauss(6.0, SPACING, 33).reshape(5, -1)
    assert flat @ flat.T == pytest.approx(np.eye(5), abs=2e-3)


def test_a_narrow_window_is_refused():
    with pytest.raises(ValueError, match="3 times as wide"):
        laguerre_gauss(10.0, SPACING, 42)


def test_a_gaussian_lesion_in_white_noise_in_closed_form():
    rng = np.random.default_rng(3)
    truth = 10 * WIDTH_PX / (np.sqrt(2) * 9.35)
    assert truth == pytest.approx(6.48, abs=0.01)
    squares = [unbiased_square(observe(gaussian_lesion(10), 200, 9.35, rng)) for _ in range(10)]
    assert np.sqrt(np.mean(squares)) == pytest.approx(truth, abs=4 * 0.24 / np.sqrt(10))
    assert np.std(np.sqrt(squares)) == pytest.approx(0.24, abs=0.12)


@pytest.mark.parametrize("d_prime", [0.0, 2.0])
def test_the_square_is_unbiased_with_few_images(d_prime):
    rng = np.random.default_rng(9)
    mean = d_prime * np.array([0.6, 0.0, 0.8, 0.0, 0.0])
    squares = [
        unbiased_square(ChannelOutputs(rng.normal(size=(20, 5)) + mean, rng.normal(size=(16, 5)))) for _ in range(2000)
    ]
    assert np.mean(squares) == pytest.approx(d_prime**2, abs=4 * np.std(squares) / np.sqrt(2000))
    biased = 36 / 28 * (d_prime**2 + 5 * (1 / 20 + 1 / 16))
    assert np.mean(squares) < biased - 0.4


def test_the_square_does_not_depend_on_scale_or_mixing_of_channels():
    rng = np.random.default_rng(2)
    present, absent = rng.normal(size=(30, 5)) + 0.5, rng.normal(size=(40, 5))
    mix = rng.normal(size=(5, 5)) * 17
    mixed = ChannelOutputs(present @ mix, absent @ mix)
    assert unbiased_square(mixed) == pytest.approx(unbiased_square(ChannelOutputs(present, absent)))


def test_auc_and_interval():
    outputs = observe(gaussian_lesion(3), 200, 9.35, np.random.default_rng(1))
    found = detectability(outputs, np.random.default_rng(0))
    assert found.d_prime_low < 3 * WIDTH_PX / (np.sqrt(2) * 9.35) < found.d_prime_high
    assert found.d_prime == pytest.approx(np.sqrt(unbiased_square(outputs)))
    assert found.auc == pytest.approx(stats.norm.cdf(found.d_prime / np.sqrt(2)))
    assert found.auc_low < found.auc < found.auc_high
    assert found == detectability(outputs, np.random.default_rng(0))


def test_the_interval_covers():
    rng = np.random.default_rng(14)
    hits = 0
    for _ in range(150):
        outputs = ChannelOutputs(rng.normal(size=(100, 5)) + 2 / np.sqrt(5), rng.normal(size=(100, 5)))
        found = detectability(outputs, rng, draws=300)
        hits += found.d_prime_low <= 2 <= found.d_prime_high
    assert 0.87 < hits / 150 < 0.98


def test_what_cannot_be_seen_has_d_prime_zero_or_little():
    outputs = observe(gaussian_lesion(0), 200, 9.35, np.random.default_rng(0))
    found = detectability(outputs, np.random.default_rng(0))
    assert found.d_prime_low == 0
    assert found.d_prime < 0.4
    assert found.auc_low == 0.5


def lesion_images(radius_mm, d_prime, rng, count=200):
    """Images of a disc whose contrast gives about ``d_prime`` in white noise, and images without it."""
    disc = make_stamp(Lesion(radius_mm, 1.0), SPACING, gaussian_transfer(0.5), size_px=48).image_hu
    noise = rng.normal(0, 10, (2, count, 48, 48))
    lesion = disc * contrast_for(d_prime, 1.0, np.linalg.norm(disc) / 10)
    return noise, lesion


@pytest.mark.parametrize(("sigma_px", "verdict"), [(0.7, "kept"), (1.0, "kept"), (2.0, "undecided")])
def test_a_mere_blur_keeps_d_prime(sigma_px, verdict):
    noise, lesion = lesion_images(1.5, 1.14, np.random.default_rng(6))
    channels = laguerre_gauss(3.0, SPACING, 48)

    def blur(images):
        return ndimage.gaussian_filter(images, sigma_px, mode="wrap", axes=(-2, -1))

    before = channel_outputs(noise[0] + lesion, noise[1], channels)
    after = channel_outputs(blur(noise[0] + lesion), blur(noise[1]), channels)
    gain = detectability_gain(after, before, np.random.default_rng(0))
    assert gain.ratio == pytest.approx(1, abs=0.03)
    assert gain.verdict == verdict
    if sigma_px == 2.0:
        assert blur(lesion).max() < 0.41 * lesion.max()


@pytest.mark.parametrize(("radius_mm", "verdict"), [(1.5, "lost"), (2.0, "lost"), (5.0, "kept")])
def test_erased_small_lesions_are_caught(radius_mm, verdict):
    noise, lesion = lesion_images(radius_mm, 2.5, np.random.default_rng(6))
    erased = ndimage.grey_opening(lesion, footprint=np.hypot(*np.mgrid[-3:4, -3:4]) <= 3)
    channels = laguerre_gauss(2 * radius_mm, SPACING, 48)
    before = channel_outputs(noise[0] + lesion, noise[1], channels)
    after = channel_outputs(noise[0] + erased, noise[1], channels)
    assert detectability_gain(after, before, np.random.default_rng(0)).verdict == verdict


def test_noise_removed_is_dose_saved_in_closed_form():
    rng = np.random.default_rng(12)
    mean = 1.5 * np.array([0.6, 0.8, 0.0, 0.0, 0.0])
    clean, noisy = rng.normal(size=(2, 400, 5)), rng.normal(size=(2, 400, 5))
    after = ChannelOutputs(clean[0] + mean, clean[1])
    before = ChannelOutputs(after.present + noisy[0], after.absent + noisy[1])  # twice the variance: half the dose
    gain = detectability_gain(after, before, np.random.default_rng(0))
    assert gain.ratio_low < np.sqrt(2) < gain.ratio_high
    assert gain.ratio == pytest.approx(np.sqrt(2), rel=0.1)
    assert gain.equivalent_dose == pytest.approx(0.25 * gain.ratio**2)
    assert gain.equivalent_dose_low < 0.5 < gain.equivalent_dose_high
    assert detectability_gain(before, after, np.random.default_rng(0)).verdict == "lost"


def test_the_same_images_are_worth_the_same_dose():
    outputs = observe(gaussian_lesion(3), 50, 9.35, np.random.default_rng(1))
    gain = detectability_gain(outputs, outputs, np.random.default_rng(0), low_dose_fraction=0.5)
    assert (gain.ratio, gain.ratio_low, gain.ratio_high) == pytest.approx((1, 1, 1), abs=1e-12)
    assert gain.equivalent_dose == pytest.approx(0.5)


def test_few_images_are_undecided():
    rng = np.random.default_rng(5)
    before = observe(gaussian_lesion(3), 20, 9.35, rng)
    after = ChannelOutputs(*(v + rng.normal(0, 2, v.shape) for v in (before.present, before.absent)))
    assert detectability_gain(after, before, np.random.default_rng(0)).verdict == "undecided"


def test_nothing_found_in_the_input_gives_no_ratio():
    outputs = observe(gaussian_lesion(0), 50, 9.35, np.random.default_rng(0))
    gain = detectability_gain(outputs, outputs, np.random.default_rng(0))
    assert np.isnan([gain.ratio, gain.ratio_low, gain.equivalent_dose]).all()
    assert gain.verdict == "undecided"


def test_contrast_and_d_prime_are_proportional():
    assert contrast_for(2.5, 20.0, 5.0) == 10.0


def test_a_singular_covariance_is_refused():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 5))
    values[:, 4] = values[:, :4].sum(axis=1)
    with pytest.raises(ValueError, match="covariance is singular"):
        unbiased_square(ChannelOutputs(values + 1.0, values[::-1]))


def test_sets_that_do_not_fit_are_refused():
    few, more = (ChannelOutputs(np.eye(count, 5), np.eye(count, 5)) for count in (4, 9))
    with pytest.raises(ValueError, match="more images are needed"):
        unbiased_square(few)
    with pytest.raises(ValueError, match="number of images"):
        detectability_gain(few, more, np.random.default_rng(0))
