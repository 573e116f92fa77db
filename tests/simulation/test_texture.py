import numpy as np
import pytest

from ctcycle.simulation.blobs import SMOOTH
from ctcycle.simulation.texture import BANDS, Band, Texture, make_volume

every_band = pytest.mark.parametrize("number", range(len(BANDS)))


@pytest.fixture(scope="module")
def texture() -> Texture:
    return Texture(np.random.default_rng(0))


def positions(pixel_mm: float, pixels: int = 48) -> np.ndarray:
    return ((np.arange(pixels) - pixels // 2) * pixel_mm).astype(np.float32)


def test_every_scale_of_a_grain_has_its_band() -> None:
    assert len(BANDS) == len(SMOOTH)


@every_band
def test_a_band_has_unit_variance_and_no_power_outside(number: int, texture: Texture) -> None:
    band, volume = BANDS[number], texture.volumes[number]
    assert volume.mean() == pytest.approx(0, abs=1e-5)
    assert volume.std() == pytest.approx(1, rel=1e-4)
    power = np.abs(np.fft.fftn(volume.astype(np.float64))) ** 2
    along = np.fft.fftfreq(len(volume))
    frequency = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + along**2)
    inside = (frequency > 0.999 / band.longest) & (frequency < 1.001 / band.shortest)
    assert power[~inside].sum() < 1e-6 * power.sum()


def test_octaves_of_a_band_have_the_same_power() -> None:
    volume = make_volume(Band(1.0, 1.0, 2.0, 16.0), np.random.default_rng(1))
    power = np.abs(np.fft.fftn(volume)) ** 2
    along = np.fft.fftfreq(len(volume))
    frequency = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + along**2)
    octaves = [power[(frequency > f) & (frequency <= 2 * f)].sum() for f in (1 / 16, 1 / 8, 1 / 4)]
    assert octaves == pytest.approx(np.full(3, np.mean(octaves)), rel=0.15)


@every_band
def test_planes_repeat_without_a_seam_and_are_linear_between_grid_steps(number: int, texture: Texture) -> None:
    step, period = BANDS[number].step_z_mm, len(texture.volumes[number]) * BANDS[number].step_z_mm
    along = positions(1.4)
    here, following, between, later = (
        texture.planes(z, along)[number] for z in (3 * step, 4 * step, 3.5 * step, 3 * step + period)
    )
    assert np.allclose(between, (here + following) / 2, atol=1e-4)
    assert np.allclose(later, here, atol=1e-4)


def test_a_pixel_shows_the_mean_over_its_area(texture: Texture) -> None:
    coarse = texture.planes(0.0, positions(1.5, 16))
    fine = texture.planes(0.0, (positions(0.25, 6 * 16) + 0.125 - 0.75).astype(np.float32))
    means = fine.reshape(len(BANDS), 16, 6, 16, 6).mean(axis=(2, 4))
    assert np.abs(coarse - means).max() < 0.25
    assert coarse[2].std() < 0.9 * fine[2].std()


def test_trabeculae_are_longer_along_the_body(texture: Texture) -> None:
    along = positions(0.75)
    for number, least, most in ((2, -0.2, 0.55), (3, 0.85, 1.0)):
        here, above = (texture.planes(z, along)[number] for z in (0.0, 0.75))
        assert least < np.corrcoef(here.ravel(), above.ravel())[0, 1] < most
