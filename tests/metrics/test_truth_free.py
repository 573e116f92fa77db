"""Judging without full dose: residuals with and without structure, and the choice of a checkpoint by the score."""

import numpy as np
import pytest
from real_pairs import read_hu
from scipy import ndimage

from ctcycle.metrics.spectral.nps import noise_power, texture_distance
from ctcycle.metrics.spectral.spectra import radial_frequency
from ctcycle.metrics.truth_free import (
    noise_ratio,
    regret_db,
    residual_structure,
    truth_free_score,
)
from ctcycle.metrics.windows import cut_windows, flat_windows

SIZE = 192


def anatomy(rng):
    """Soft tissue with discs of 3 to 16 px radius."""
    rows, columns = np.indices((SIZE, SIZE))
    hu = np.full((SIZE, SIZE), 40.0)
    for row, column, radius, contrast in zip(
        *rng.uniform(20, SIZE - 20, (2, 16)),
        rng.uniform(3, 16, 16),
        rng.choice([-60, -40, 40, 60, 150], 16),
        strict=True,
    ):
        hu[np.hypot(rows - row, columns - column) < radius] = 40 + contrast
    return ndimage.gaussian_filter(hu, 0.8)


def ct_noise(sigma, rng):
    """Noise of filtered back projection with a Hann kernel."""
    frequency = np.minimum(radial_frequency(SIZE), 0.5)
    gain = np.sqrt(frequency) * np.cos(np.pi * frequency) ** 2
    gain *= sigma / np.sqrt((gain**2).mean())
    return np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (SIZE, SIZE))) * gain).real


def test_a_residual_of_noise_has_no_structure():
    trials = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        clean = anatomy(rng)
        trials.append(residual_structure(clean + ct_noise(20, rng), clean, rng))
    assert abs(np.mean([found.excess for found in trials])) < 0.003
    assert max(abs(found.excess) for found in trials) < 0.03
    p_values = np.array([found.p_value for found in trials])
    assert 0.35 < p_values.mean() < 0.65
    assert (p_values <= 0.1).sum() <= 7  # 2.5 are expected; more than 7 have the probability 0.002


def test_noise_that_is_stronger_where_edges_are_is_no_structure():
    rng = np.random.default_rng(1)
    level = np.linspace(5, 60, SIZE)
    clean = anatomy(rng) + 30 * np.sin(np.indices((SIZE, SIZE))[0] / 2) * level / 60
    found = residual_structure(clean + rng.normal(0, 1, clean.shape) * level, clean, rng)
    assert found.correlation > 0.1
    assert abs(found.excess) < 0.02


def test_planted_blur_leaves_structure():
    rng = np.random.default_rng(2)
    noisy = anatomy(rng) + ct_noise(10, rng)
    found = [residual_structure(noisy, ndimage.gaussian_filter(noisy, sigma), rng) for sigma in (1, 2, 4)]
    assert all(blur.p_value == 0.01 for blur in found)
    assert 0.02 < found[0].excess < found[1].excess < found[2].excess
    assert found[0].excess > 4 * found[0].null_sd


def test_noise_left_beside_edges_is_structure_of_the_other_sign():
    rng = np.random.default_rng(3)
    clean = anatomy(rng)
    noise = ct_noise(20, rng)
    at_edges = ndimage.gaussian_gradient_magnitude(clean, 2) > 5
    found = residual_structure(clean + noise, np.where(at_edges, clean + noise, clean), rng)
    assert found.excess < -0.05
    assert found.p_value == 0.01


def test_the_identity_removes_nothing():
    rng = np.random.default_rng(4)
    noisy = anatomy(rng)
    found = residual_structure(noisy, noisy, rng)
    assert (found.correlation, found.excess, found.p_value) == (0, 0, 1)
    assert found.tiles == (SIZE // 16) ** 2


def test_the_same_generator_gives_the_same_null():
    noisy = anatomy(np.random.default_rng(5))
    blurred = ndimage.gaussian_filter(noisy, 1)
    found = [residual_structure(noisy, blurred, np.random.default_rng(6)) for _ in range(2)]
    assert found[0] == found[1]


def test_air_does_not_count():
    rng = np.random.default_rng(7)
    half = anatomy(rng)
    half[:, :100] = -1000
    found = residual_structure(half, half + rng.normal(0, 1, half.shape), rng)
    assert found.tiles == 12 * 5  # columns of tiles from pixel 112 on


def test_bad_slices_are_named():
    rng = np.random.default_rng(8)
    with pytest.raises(ValueError, match="two images of one slice"):
        residual_structure(np.zeros((64, 64)), np.zeros((64, 65)), rng)
    with pytest.raises(ValueError, match="0 tiles of body"):
        residual_structure(np.full((64, 64), -1000.0), np.zeros((64, 64)), rng)


def test_noise_ratio_in_closed_form():
    patches = np.random.default_rng(9).normal(0, 20, (20, 32, 32))
    assert noise_ratio(0.4 * patches + 100, patches) == pytest.approx(0.4)
    assert np.isnan(noise_ratio(patches, 0 * patches))


def test_the_parts_of_the_score_are_in_units_of_their_bars():
    assert truth_free_score(0, 0, 1, 0.7).penalty == 0
    at_bars = truth_free_score(-0.05, 0.1, 0.8, 1.1)
    parts = (at_bars.structure, at_bars.texture, at_bars.recovery, at_bars.noise)
    assert parts == pytest.approx((1, 1, 1, 1))
    assert at_bars.penalty == pytest.approx(1)
    assert truth_free_score(0, 0, 1.4, 1).recovery == pytest.approx(2)


def test_regret_by_hand():
    psnr = np.array([30.0, 33.0, 34.0, 31.0])
    assert regret_db(np.array([4.0, 1.0, 2.0, 3.0]), psnr) == 1.0
    assert regret_db(np.array([4.0, 2.0, 1.0, 3.0]), psnr) == 0.0
    for penalties in (np.array([1.0]), np.array([1.0, 2.0, 3.0, np.nan]), np.array([])):
        with pytest.raises(ValueError, match="regret"):
            regret_db(penalties, psnr)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_score_chooses_nearly_what_pairs_would_choose(seed):
    """Blurs of growing width are the checkpoints; the domain of full dose is another patient's."""
    rng = np.random.default_rng(seed)
    full = anatomy(rng) + ct_noise(15, rng)
    low = full + ct_noise(26, rng)
    stranger = anatomy(rng) + ct_noise(15, rng)
    domain = noise_power(cut_windows(stranger, flat_windows(stranger)), 1.0)
    corners = flat_windows(low)
    lesions = np.zeros_like(low)
    rows, columns = np.indices(low.shape)
    centres = tuple(np.transpose(corners) + 16)
    for row, column in np.transpose(centres):
        lesions[np.hypot(rows - row, columns - column) < 4.3] = 20
    penalties, psnr = [], []
    for sigma in (0.01, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5, 4.0):
        output = ndimage.gaussian_filter(low, sigma)
        noise = noise_power(cut_windows(output, corners), 1.0)
        recovered = np.mean((ndimage.gaussian_filter(low + lesions, sigma) - output)[centres]) / 20
        structure = residual_structure(low, output, rng).excess
        distance = texture_distance(noise, domain)
        penalties.append(truth_free_score(structure, distance, recovered, noise.noise_hu / domain.noise_hu).penalty)
        psnr.append(10 * np.log10(2000**2 / np.mean((output - full) ** 2)))
    assert regret_db(np.array(penalties), np.array(psnr)) < 1
    assert max(psnr) - psnr[0] > 3  # what there was to lose
    assert max(psnr) - psnr[-1] > 1


@pytest.mark.real_data
def test_what_low_dose_adds_to_a_real_slice_has_no_structure_and_blur_has(real_data):
    pair = real_data / "mayo2016_pairs" / "L067" / "3mm_B30f"
    low, full = (next(read_hu(file) for file in (pair / dose).iterdir()) for dose in ("quarter_dose", "full_dose"))
    rng = np.random.default_rng(10)
    assert abs(residual_structure(low, full, rng).excess) < 0.02
    assert residual_structure(low, ndimage.gaussian_filter(low, 1), rng).excess > 0.1
