from typing import get_args

import numpy as np
import pytest
from skimage.transform import iradon

from ctcycle.ct.hounsfield import MU_WATER, mu_to_hu
from ctcycle.simulation.projection import project, view_angles
from ctcycle.simulation.reconstruction import reconstruct, sharpen
from ctcycle.simulation.settings import Kernel

SIZE, PIXEL, VIEWS = 128, 2.5, 180
KERNELS = get_args(Kernel)
ALONG = (np.arange(SIZE) - SIZE // 2) * PIXEL
RADIUS = np.hypot(ALONG, ALONG[:, None])
WATER = MU_WATER * np.clip(0.5 + (100 - RADIUS) / PIXEL, 0, 1)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, (182, VIEWS))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_disc_of_water_has_zero_hu_and_the_air_around_it_minus_thousand(kernel: Kernel) -> None:
    hu = mu_to_hu(reconstruct(project(WATER, PIXEL, VIEWS), PIXEL, SIZE, kernel))
    assert hu[RADIUS < 85].mean() == pytest.approx(0.0, abs=1.0)
    assert hu[RADIUS < 85].std() < 4
    assert hu[RADIUS > 115].mean() == pytest.approx(-1000.0, abs=1.0)


def test_a_small_off_centre_disc_comes_back_where_it_was() -> None:
    x, y = ALONG - 50.0, ALONG[:, None] + 70.0
    mu = MU_WATER * np.clip(0.5 + (20 - np.hypot(x, y)) / PIXEL, 0, 1)
    result = reconstruct(project(mu, PIXEL, VIEWS), PIXEL, SIZE, "sharp")
    disc = np.where(np.hypot(x, y) < 30, result, 0)
    assert disc[np.hypot(x, y) < 12].mean() == pytest.approx(MU_WATER, rel=3e-3)
    assert (disc * x).sum() / disc.sum() == pytest.approx(0, abs=0.05)
    assert (disc * y).sum() / disc.sum() == pytest.approx(0, abs=0.05)
    assert np.abs(result[np.hypot(x, y) > 30]).mean() < 0.003 * MU_WATER


def test_the_sharp_kernel_agrees_with_skimage(noise: np.ndarray) -> None:
    expected = iradon(noise, view_angles(VIEWS), filter_name="shepp-logan", circle=False, output_size=SIZE) / PIXEL
    assert np.abs(reconstruct(noise, PIXEL, SIZE, "sharp") - expected).max() < 1e-3 * expected.std()


def test_the_soft_kernel_agrees_with_skimage_but_for_its_sampling_of_the_window(noise: np.ndarray) -> None:
    expected = iradon(noise, view_angles(VIEWS), filter_name="hann", circle=False, output_size=SIZE) / PIXEL
    assert np.abs(reconstruct(noise, PIXEL, SIZE, "soft") - expected).max() < 0.05 * expected.std()


def test_the_sharp_kernel_is_noisier(noise: np.ndarray) -> None:
    soft, sharp = (reconstruct(noise, PIXEL, SIZE, kernel).std() for kernel in ("soft", "sharp"))
    assert 1.8 < sharp / soft < 3


def test_it_is_linear_so_noise_can_be_reconstructed_alone(noise: np.ndarray) -> None:
    clean = project(WATER, PIXEL, VIEWS)
    together = reconstruct(clean + 3 * noise, PIXEL, SIZE, "soft")
    apart = reconstruct(clean, PIXEL, SIZE, "soft") + 3 * reconstruct(noise, PIXEL, SIZE, "soft")
    assert np.allclose(together, apart, atol=1e-6)
    assert not reconstruct(np.zeros((182, VIEWS)), PIXEL, SIZE, "soft").any()


def test_a_complex_sinogram_carries_two_scans(noise: np.ndarray) -> None:
    clean = project(WATER, PIXEL, VIEWS)
    both = reconstruct(clean + 1j * noise, PIXEL, SIZE, "sharp")
    assert both.dtype == np.complex64
    for part, alone in ((both.real, clean), (both.imag, noise)):
        expected = reconstruct(alone, PIXEL, SIZE, "sharp")
        assert expected.dtype == np.float32
        assert np.allclose(part, expected, atol=1e-7)


def test_sharpening_is_the_sharper_kernel_s_reconstruction(noise: np.ndarray) -> None:
    medium, sharp = (reconstruct(noise, PIXEL, SIZE, kernel) for kernel in ("medium", "sharp"))
    inner = np.s_[16:-16, 16:-16]  # the transform takes the slice for periodic
    assert (sharpen(medium, "sharp", before="medium") - sharp)[inner].std() < 0.25 * sharp.std()
    assert (medium - sharp)[inner].std() > 0.4 * sharp.std()


def test_sharpening_keeps_means_and_stops_at_four(noise: np.ndarray) -> None:
    image = reconstruct(noise, PIXEL, SIZE, "soft") + 40
    assert sharpen(image, "ramp").mean() == pytest.approx(image.mean(), rel=1e-4)
    checks = (-1.0) ** np.arange(SIZE)[:, None] * np.ones(SIZE)  # the highest frequency, which no soft kernel passes
    assert np.abs(sharpen(checks, "ramp")).max() == pytest.approx(4.0, rel=1e-6)
    assert np.array_equal(sharpen(image, "soft", before="ramp"), sharpen(image, "soft"))
    assert np.allclose(sharpen(image, "soft"), image, atol=1e-4)
