"""Scores and noise against scikit-image and scipy, and noise that is found against noise that was put in."""

import numpy as np
import pytest
import reference_measures as by_scipy
from scipy import ndimage

from ctcycle.ct.measures import (
    HU2000,
    Protocol,
    means_in_windows,
    score,
    smoothed,
    soft_tissue_noise,
    tissue_windows,
    window_deviations,
)

SHAPES = [(256, 256), (200, 101), (26, 240), (15, 15)]


def phantom(size=256):
    """A body of soft tissue with organs, fat, bone and a lung, in HU, without noise."""
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    hu = np.full((size, size), -1000.0)
    for row, column, height, width, value in [
        (0, 0, 0.36, 0.46, -100),
        (0, 0, 0.33, 0.43, 45),
        (0.05, -0.2, 0.15, 0.13, 110),
        (-0.1, 0.2, 0.12, 0.12, -850),
        (0.24, 0, 0.06, 0.06, 400),
        (-0.18, -0.08, 0.05, 0.08, -90),
    ]:
        hu[((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1] = value
    return ndimage.gaussian_filter(hu, 0.7)


def noise(kind, std, rng, size=256):
    """White noise, or noise with the band-limited ramp spectrum of filtered back-projection."""
    white = rng.normal(0, 1, (size, size))
    if kind == "ramp":
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
        spectrum = np.sqrt(radius * np.clip(np.cos(np.pi * radius), 0, None))
        white = np.fft.ifft2(np.fft.fft2(white) * spectrum).real
    return white * (std / white.std())


def noisy(shape=(256, 256), std=30.0, seed=0):
    """The middle of the phantom with white noise."""
    hu = phantom() + np.random.default_rng(seed).normal(0, std, (256, 256))
    top, left = ((256 - side) // 2 for side in shape)
    return hu[top : top + shape[0], left : left + shape[1]]


# --- scores


@pytest.mark.parametrize("shape", [*SHAPES, (11, 31)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("protocol", [HU2000, Protocol.of_window("narrow", -160.0, 240.0)])
def test_scores_are_those_of_scikit_image(shape, masked, protocol):
    output, reference = (noisy(shape, std, seed) for seed, std in enumerate((40.0, 10.0)))
    mask = np.random.default_rng(1).random(shape) > 0.4 if masked else None
    found = score(protocol, output, reference, mask)
    clipped = [np.clip(image, protocol.low_hu, protocol.high_hu) for image in (output, reference)]
    expected = by_scipy.ssim(*clipped, protocol.ssim_range, mask)
    assert found.ssim == pytest.approx(expected, rel=1e-9)
    error = (clipped[0] - clipped[1])[... if mask is None else mask]
    assert found.psnr == pytest.approx(10 * np.log10(protocol.psnr_range**2 / np.mean(error**2)), rel=1e-12)
    assert found.bias_hu == pytest.approx(error.mean(), rel=1e-9)


@pytest.mark.parametrize("shape", [*SHAPES, (7, 31)])
def test_the_uniform_window_is_scikit_images_default(shape):
    protocol = Protocol("uniform", -1000.0, None, 1.0, 2.0, "uniform", -1000.0, True, "")
    output, reference = (noisy(shape, std, seed) for seed, std in enumerate((40.0, 10.0)))
    width = max(reference.max(), -1000) + 1000
    mapped = [(np.maximum(image, -1000) + 1000) / width for image in (output, reference)]
    assert score(protocol, output, reference).ssim == pytest.approx(by_scipy.ssim(*mapped, 2.0, uniform=True), rel=1e-9)


# --- noise


@pytest.mark.parametrize("shape", [*SHAPES, (5, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_smoothing_is_that_of_scipy(shape, dtype):
    hu = noisy(shape).astype(dtype)
    expected = ndimage.gaussian_filter(hu.astype(np.float64), 2.0, mode="reflect")
    np.testing.assert_allclose(smoothed(hu), expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("rows", "columns"), [(15, 15), (14, 15), (15, 14), (1, 2)])
def test_means_are_those_of_every_whole_window(rows, columns):
    images = np.stack([noisy((61, 250), seed=seed) for seed in range(2)])
    windows = np.lib.stride_tricks.sliding_window_view(images, (rows, columns), axis=(1, 2))
    np.testing.assert_allclose(means_in_windows(images, rows, columns), windows.mean(axis=(-2, -1)), rtol=1e-10)


@pytest.mark.parametrize("shape", [*SHAPES, (14, 240)])
@pytest.mark.parametrize("std", [0.0, 5.0, 40.0])
def test_windows_and_deviations_are_those_of_scipy(shape, std):
    hu = noisy(shape, std)
    windows = tissue_windows(hu)
    np.testing.assert_array_equal(windows, by_scipy.tissue_windows(hu))
    assert windows.any() == (min(shape) >= 15)
    expected = by_scipy.window_deviations(hu, windows)
    np.testing.assert_allclose(window_deviations(hu, windows), expected, rtol=1e-6, atol=1e-4)
    if windows.sum() >= 50:
        assert soft_tissue_noise(hu) == pytest.approx(by_scipy.soft_tissue_noise(hu), rel=1e-6, abs=1e-4)


def test_windows_that_reach_beyond_the_slice_do_not_count():
    hu = noisy()
    windows = tissue_windows(hu)
    everywhere = windows | (np.hypot(*np.indices(hu.shape)) < 7)
    assert soft_tissue_noise(hu, everywhere) == soft_tissue_noise(hu, windows)
    edge = np.zeros_like(windows)
    edge[:7] = True
    assert np.isnan(soft_tissue_noise(hu, edge))


@pytest.mark.parametrize("kind", ["white", "ramp"])
@pytest.mark.parametrize("std", [15.0, 40.0, 90.0])
def test_known_noise_is_found(kind, std):
    hu = phantom() + noise(kind, std, np.random.default_rng(2))
    assert soft_tissue_noise(hu) == pytest.approx(std, rel=0.12)
    assert soft_tissue_noise(hu, tissue_windows(phantom())) == pytest.approx(std, rel=0.12)


def test_noise_elsewhere_does_not_count():
    clean = phantom()
    added = noise("white", 20.0, np.random.default_rng(4))
    loud = np.where((clean < -200) | (clean > 250), 10 * added, added)
    assert soft_tissue_noise(clean + loud) == pytest.approx(20, rel=0.12)


def test_vessels_do_not_count_as_noise():
    rng = np.random.default_rng(0)
    hu = phantom() + noise("white", 20.0, rng)
    for row, column in rng.integers(0, 256, (150, 2)):
        hu[row : row + 4, column : column + 4] += 70
    assert soft_tissue_noise(hu) == pytest.approx(20, rel=0.12)


def test_without_tissue_there_is_no_figure():
    assert np.isnan(soft_tissue_noise(np.full((64, 64), -1000.0)))
    assert np.isnan(soft_tissue_noise(phantom(), np.zeros((256, 256), bool)))


def test_windows_hold_tissue_alone():
    clean = phantom()
    windows = tissue_windows(clean)
    assert windows.sum() > 2000
    for row, column in np.argwhere(windows)[::50]:
        inside = clean[row - 7 : row + 8, column - 7 : column + 8]
        assert inside.shape == (15, 15)
        assert inside.min() > -90  # a border may touch the window, no organ reaches into it
        assert inside.max() < 200


def test_windows_stay_within_the_image():
    windows = tissue_windows(np.full((40, 40), 50.0))
    assert windows[7:-7, 7:-7].all()
    assert windows.sum() == 26**2


@pytest.mark.parametrize("shape", [(1, 1), (14, 40), (40, 14)])
def test_a_slice_smaller_than_a_window_has_no_windows(shape: tuple[int, int]) -> None:
    assert window_deviations(np.zeros(shape), np.ones(shape, dtype=bool)).shape == (0,)
