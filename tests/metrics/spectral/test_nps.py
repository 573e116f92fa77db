"""The noise power spectrum against white noise, filtered noise, and filtered back projection in closed form."""

import numpy as np
import pytest
from real_pairs import real_patches
from skimage.transform import iradon

from ctcycle.metrics.spectral.nps import NoisePower, noise_power, power_ratio_above, texture_distance
from ctcycle.metrics.spectral.spectra import radial_frequency, spectrum_rings

VIEWS = 360


def coloured(amplitude, rng, count=200, sigma=20.0, size=64):
    """Noise whose spectrum has the shape ``amplitude(f)²``, and whose standard deviation is ``sigma``."""
    gain = amplitude(radial_frequency(size * 2))
    gain *= sigma / np.sqrt((gain**2).mean())
    noise = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (count // 4, 2 * size, 2 * size))) * gain).real
    return noise.reshape(-1, 2, size, 2, size).swapaxes(2, 3).reshape(-1, size, size)


def fbp_like(window):
    return lambda f: np.sqrt(f) * window(np.minimum(f, 0.5))


def soft(f):
    return np.cos(np.pi * f) ** 2


def medium(f):
    return np.cos(0.8 * np.pi * f) ** 2


def test_white_noise_in_closed_form():
    white = np.random.default_rng(0).normal(0, 20, (200, 64, 64))
    nps = noise_power(white, 0.7)
    assert nps.radial_hu2_mm2 == pytest.approx(np.full(30, 20**2 * 0.7**2), rel=0.04)
    assert nps.noise_hu**2 == pytest.approx(20**2 * (64**2 - 6) / 64**2, rel=0.01)
    assert nps.power_hu2_mm2.sum() / (64 * 0.7) ** 2 == pytest.approx(nps.noise_hu**2)
    assert nps.frequency_per_mm[[0, -1]] * 0.7 == pytest.approx([3 / 64, 0.5], rel=0.02)
    assert nps.regions == 200


def test_white_noise_has_the_mean_frequency_of_a_filled_disc():
    nps = noise_power(np.random.default_rng(1).normal(0, 20, (100, 64, 64)), 0.5)
    a, b = 2.5 / 64, 32.5 / 64  # from the inner border of ring 3 to the outer one of ring 32
    assert nps.mean_per_px == pytest.approx(2 / 3 * (b**3 - a**3) / (b**2 - a**2), rel=0.01)
    assert nps.mean_per_mm == pytest.approx(2 * nps.mean_per_px)


def test_an_offset_and_a_gradient_are_no_noise():
    rng = np.random.default_rng(2)
    white = rng.normal(0, 20, (20, 32, 32))
    tilted = white + np.linspace(0, 100, 32) + 1000.0
    assert noise_power(tilted, 1.0).power_hu2_mm2 == pytest.approx(noise_power(white, 1.0).power_hu2_mm2)


@pytest.fixture(scope="module")
def back_projected() -> np.ndarray:
    """Filtered back projections (iradon: Hann, linear) of white noise of 1: 128 regions from the middle."""
    rng = np.random.default_rng(3)
    regions = []
    for _ in range(8):
        slice_ = iradon(rng.normal(0, 1, (363, VIEWS)), filter_name="hann", circle=False, output_size=256)
        regions.append(slice_.reshape(4, 64, 4, 64).swapaxes(1, 2).reshape(-1, 64, 64))
    return np.concatenate(regions)


def test_back_projected_noise_in_closed_form(back_projected):
    """NPS = (π/M) σ² f W² sinc⁴; sinc⁴ is from the linear interpolation of the back projection."""
    nps = noise_power(back_projected, 1.0)
    f = radial_frequency(64)
    expected = np.pi / VIEWS * f * soft(f) ** 2 * np.sinc(f) ** 4 * (f <= 0.5)
    radial = spectrum_rings(64).mean(expected)[3:33]
    band = (nps.frequency_per_mm > 0.1) & (nps.frequency_per_mm < 0.3)
    assert nps.radial_hu2_mm2[band] == pytest.approx(radial[band], rel=0.06)
    f = np.linspace(0, 0.5, 2001)
    variance = 2 * np.pi * np.trapezoid(np.pi / VIEWS * f**2 * soft(f) ** 2 * np.sinc(f) ** 4, f)
    assert nps.noise_hu**2 == pytest.approx(variance, rel=0.03)
    assert nps.anisotropy < 1.1


def test_peak_of_a_known_spectrum():
    ring = noise_power(coloured(lambda f: np.exp(-(((f - 0.2) / 0.04) ** 2)), np.random.default_rng(4)), 0.8)
    assert ring.peak_per_mm == pytest.approx(0.2 / 0.8, abs=1.5 / 64 / 0.8)
    assert ring.mean_per_px == pytest.approx(0.2, abs=0.01)
    assert ring.peak_per_px == pytest.approx(0.2, abs=1.5 / 64)


def spectrum(radial, pixel_mm=1.0) -> NoisePower:
    """A spectrum given by its rings alone."""
    radial = np.asarray(radial, float)
    frequency = np.linspace(0.1, 0.5, len(radial)) / pixel_mm
    return NoisePower(1, pixel_mm, np.ones((32, 32)), frequency, radial, 1.0, 1.0)


def test_texture_distance_by_hand():
    assert texture_distance(spectrum([1, 0, 0]), spectrum([0, 0, 2])) == 1
    assert texture_distance(spectrum([1, 2, 3]), spectrum([5, 10, 15])) == pytest.approx(0)
    # f NPS: 0.1, 0.3, 0.5 over 0.9 against 0.1, 0.3 over 0.4
    assert texture_distance(spectrum([1, 1, 1]), spectrum([1, 1, 0])) == pytest.approx(0.5 / 0.9)


def test_texture_distance_between_pixel_sizes_is_in_millimetres():
    rng = np.random.default_rng(5)
    coarse = noise_power(coloured(lambda f: np.exp(-((f / 0.2) ** 2)), rng), 0.8)
    same = noise_power(coloured(lambda f: np.exp(-((f / 0.16) ** 2)), rng), 0.64)
    assert texture_distance(coarse, same) < 0.03
    assert texture_distance(same, coarse) < 0.03
    assert texture_distance(spectrum([1, 1, 1], 0.1), spectrum([1, 1, 1], 1.0)) == 1  # no frequency in common


@pytest.mark.parametrize("regions", [100, 200])
def test_one_texture_has_no_distance_from_itself(regions):
    rng = np.random.default_rng(6)
    one, other = (noise_power(coloured(fbp_like(soft), rng, regions, sigma), 0.7) for sigma in (10, 40))
    assert texture_distance(one, other) < 0.03


def test_planted_texture_of_the_same_level_is_named():
    rng = np.random.default_rng(7)
    one, other = (noise_power(coloured(fbp_like(window), rng), 0.7) for window in (soft, medium))
    assert one.noise_hu == pytest.approx(other.noise_hu, rel=0.02)
    assert texture_distance(one, other) > 0.1
    assert other.mean_per_px > one.mean_per_px


def test_planted_high_frequency_noise_is_named():
    rng = np.random.default_rng(8)
    full = coloured(fbp_like(soft), rng)
    left = coloured(lambda f: (f > 0.4).astype(float), rng, sigma=6)
    clean, noisy = noise_power(coloured(fbp_like(soft), rng), 0.7), noise_power(full + left, 0.7)
    reference = noise_power(full, 0.7)
    assert power_ratio_above(clean, reference) == pytest.approx(1, abs=0.1)
    assert power_ratio_above(noisy, reference) > 1.5
    assert noisy.noise_hu == pytest.approx(reference.noise_hu, rel=0.06)  # the level does not tell


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.5])
def test_anisotropy_in_closed_form(slope):
    along = np.fft.fftfreq(128)
    direction = np.cos(2 * np.arctan2(along[:, None], along))
    noise = coloured(lambda f: np.sqrt(1 + slope * direction) * (f > 0), np.random.default_rng(9), 400)
    sector = np.sinc(1 / 8)  # mean of cos 2θ over a sector of 22.5 degrees
    expected = (1 + slope * sector) / (1 - slope * sector)
    assert noise_power(noise, 1.0).anisotropy == pytest.approx(expected, rel=0.04)


def test_streaks_are_anisotropic_without_limit():
    rows = np.broadcast_to(np.random.default_rng(10).normal(0, 1, (8, 32, 1)), (8, 32, 32))
    assert noise_power(rows, 1.0).anisotropy > 1e6


def test_bad_arguments_are_named():
    noise = np.random.default_rng(11).normal(0, 1, (4, 32, 32))
    with pytest.raises(ValueError, match="pixel_mm=0"):
        noise_power(noise, 0)
    with pytest.raises(ValueError, match="different bins"):
        power_ratio_above(noise_power(noise, 1.0), noise_power(noise, 0.5))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("kernel", "patients", "mean_per_px", "peak_per_px"),
    [("B30f", {"L067", "L143"}, 0.266, 0.205), ("D45f", {"L096", "L143"}, 0.375, 0.44)],
)
def test_texture_of_what_low_dose_adds_in_real_pairs(real_data, kernel, patients, mean_per_px, peak_per_px):
    low, full = real_patches(real_data, kernel, patients)
    added = noise_power(low - full, 1.0)
    assert added.mean_per_px == pytest.approx(mean_per_px, rel=0.03)
    assert added.peak_per_px == pytest.approx(peak_per_px, abs=0.02)
