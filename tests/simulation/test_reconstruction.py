from typing import get_args

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from skimage.transform import iradon

from ctcycle.ct.hounsfield import MU_WATER, mu_to_hu
from ctcycle.metrics.spectral.nps import noise_power
from ctcycle.simulation.projection import project, view_angles
from ctcycle.simulation.reconstruction import elements_per_pixel, reconstruct, reconstruct_many, sharpen
from ctcycle.simulation.settings import Kernel

SIZE, PIXEL, VIEWS = 128, 2.5, 180
KERNELS = get_args(Kernel)
ALONG = (np.arange(SIZE) - SIZE // 2) * PIXEL
RADIUS = np.hypot(ALONG, ALONG[:, None])
WATER = MU_WATER * np.clip(0.5 + (100 - RADIUS) / PIXEL, 0, 1)

FITTED = [("b30", 0.8, 0.318, 2.25), ("b30", 0.65, 0.318, 2.25), ("d45", 0.5, 0.68, 4.5), ("d45", 0.4, 0.68, 4.5)]
"""Kernel, a pixel size at which it passes little above 0.5 cycles a pixel, and its window's scale and exponent."""


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, (182, VIEWS))


@pytest.mark.parametrize(("kernel", "fineness", "detectors"), [("soft", 1, 91), ("b30", 1, 91), ("d45", 2, 182)])
def test_many_scans_at_once_are_those_of_one_at_a_time(kernel: Kernel, fineness: int, detectors: int) -> None:
    rng = np.random.default_rng(1)
    scans = list((rng.normal(size=(3, 2, detectors, 60)) * [[[1.0]], [[1.0j]]]).sum(axis=1).astype(np.complex64))
    found = reconstruct_many(scans, 1.4, 64, kernel, fineness)
    assert found.dtype == np.complex64
    for scan, image in zip(scans, found, strict=True):
        expected = reconstruct(scan, 1.4, 64, kernel, fineness)
        assert np.abs(image - expected).max() < 2e-6 * np.abs(expected).max()


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


@pytest.mark.parametrize(("kernel", "pixel_mm", "scale_per_mm", "exponent"), FITTED)
def test_fitted_kernels_pass_what_they_say_at_any_pixel_size(
    kernel: Kernel, pixel_mm: float, scale_per_mm: float, exponent: float
) -> None:
    regions = []
    for seed in range(2):
        rays = np.random.default_rng(seed).normal(0, 1, (2 * 364, 360))
        image = reconstruct(rays, pixel_mm, 256, kernel, fineness=2) * pixel_mm
        regions += [image[y : y + 32, x : x + 32] for y in range(48, 208, 32) for x in range(48, 208, 32)]
    power = noise_power(np.stack(regions), 1.0)
    frequency = power.frequency_per_mm  # of pixels of 1 mm: cycles per pixel
    expected = np.pi / 360 * 0.5 * frequency * np.exp(-((frequency / pixel_mm / scale_per_mm) ** exponent))
    strong = expected > 0.3 * expected.max()
    assert power.radial_hu2_mm2[strong].sum() == pytest.approx(expected[strong].sum(), rel=0.03)
    assert power.radial_hu2_mm2[strong] == pytest.approx(expected[strong], rel=0.12)  # 50 regions, and leakage
    assert power.mean_per_px == pytest.approx(np.average(frequency, weights=frequency * expected), rel=0.03)


@pytest.mark.parametrize("kernel", ["b30", "d45"])
def test_fitted_kernels_need_half_the_elements_where_the_rays_are_smooth(kernel: Kernel) -> None:
    rays = np.random.default_rng(2).normal(0, 1, (2 * 182, 60)) * np.hanning(2 * 182)[:, None]
    rays = gaussian_filter1d(rays, 4.0, axis=0)
    fine = reconstruct(rays, 0.8, 96, kernel, fineness=elements_per_pixel(kernel))
    coarse = reconstruct(rays[::2], 0.8, 96, kernel)
    assert np.abs(fine - coarse).max() < 0.005 * fine.std()


def test_sharpening_from_one_fitted_kernel_to_the_other_is_its_reconstruction() -> None:
    rays = np.random.default_rng(3).normal(0, 1, (2 * 182, VIEWS))
    b30, d45 = (reconstruct(rays, 0.45, SIZE, kernel, fineness=2) for kernel in ("b30", "d45"))
    inner = np.s_[16:-16, 16:-16]
    frequency = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.fftfreq(96))
    low = frequency < 0.2  # above, the gain would exceed its limit
    spectra = [np.fft.fft2(image[inner])[low] for image in (sharpen(b30, "d45", "b30", 0.45), d45, b30)]
    assert np.abs(spectra[0] - spectra[1]).std() < 0.25 * np.abs(spectra[1] - spectra[2]).std()
