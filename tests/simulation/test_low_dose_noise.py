from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ctcycle.ct.hounsfield import MU_WATER, mu_to_hu
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.errors import SeriesError
from ctcycle.metrics.noise import tissue_windows
from ctcycle.metrics.spectral.nps import noise_power, texture_distance
from ctcycle.metrics.windows import cut_windows, flat_windows
from ctcycle.simulation.low_dose_noise import LowerDose, added_noise, line_integrals
from ctcycle.simulation.projection import project
from ctcycle.simulation.reconstruction import reconstruct
from ctcycle.simulation.settings import Kernel

SIZE, PIXEL, VIEWS, PHOTONS = 128, 2.0, 180, 2e4
ALONG = (np.arange(SIZE) - SIZE // 2) * PIXEL
RADIUS = np.hypot(ALONG / 90, ALONG[:, None] / 60)
CLEAN_MU = np.where(RADIUS < 1, 1.04 * MU_WATER, 0.0)
CLEAN_HU = mu_to_hu(CLEAN_MU)


def scan(photons: float, rng: np.random.Generator, kernel: Kernel = "soft") -> NDArray[np.float32]:
    """A slice of soft tissue, its photons counted one by one: a way to low dose that shares nothing with ours."""
    counts = rng.poisson(photons * np.exp(-project(CLEAN_MU, PIXEL, VIEWS)))
    return np.float32(mu_to_hu(reconstruct(np.log(photons / counts.clip(1)), PIXEL, SIZE, kernel)))


@pytest.fixture(scope="module")
def full() -> NDArray[np.float32]:
    return np.stack([scan(PHOTONS, np.random.default_rng(number)) for number in range(3)])


@pytest.fixture(scope="module")
def rays(full: NDArray[np.float32]) -> NDArray[np.float32]:
    return line_integrals(full, PIXEL, VIEWS)


def tissue(full: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.stack([tissue_windows(image) for image in full])


def test_a_quarter_of_the_dose_is_as_noisy_as_a_quarter_of_the_photons(
    full: NDArray[np.float32], rays: NDArray[np.float32]
) -> None:
    simulated = full + added_noise(full, rays, PIXEL, LowerDose(0.25, "soft", electronic_noise=0.0), seed=1)
    real = np.stack([scan(PHOTONS / 4, np.random.default_rng(10 + number)) for number in range(3)])
    where = tissue(full)
    assert simulated[where].std() == pytest.approx(real[where].std(), rel=0.05)
    centre, rim = RADIUS < 0.3, (RADIUS > 0.7) & (RADIUS < 0.85) & (np.abs(ALONG) > 55)
    falls = [[(image - CLEAN_HU)[:, where].std() for where in (centre, rim)] for image in (simulated, real)]
    assert falls[0][0] / falls[0][1] == pytest.approx(falls[1][0] / falls[1][1], rel=0.1)
    assert falls[1][0] > 1.15 * falls[1][1]


def test_noise_is_drawn_with_the_spectrum_of_its_kernel(full: NDArray[np.float32], rays: NDArray[np.float32]) -> None:
    def share_of_fine_noise(kernel: Kernel) -> float:
        noise = added_noise(full, rays, PIXEL, LowerDose(0.25, kernel, noise_hu=20.0), seed=1)
        power = np.abs(np.fft.fft2(noise)) ** 2
        frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE))
        return float(power[:, frequency > 0.3].sum() / power.sum())

    shares = [share_of_fine_noise(kernel) for kernel in ("soft", "medium", "sharp", "ramp")]
    assert shares == sorted(shares)
    assert shares[0] < 0.15
    assert shares[-1] > 0.5


@pytest.mark.parametrize(("kernel", "pixels_mm"), [("b30", (0.55, 0.75)), ("d45", (0.4, 0.5))])
def test_noise_of_fitted_kernels_has_a_texture_in_mm(kernel: Kernel, pixels_mm: tuple[float, float]) -> None:
    disc = np.where(RADIUS < 1, 40.0, -1000.0).astype(np.float32)[None]
    powers = []
    for pixel_mm in pixels_mm:
        rays = line_integrals(disc, pixel_mm, VIEWS)
        noise = added_noise(disc, rays, pixel_mm, LowerDose(0.25, kernel, noise_hu=20.0), seed=1)[0]
        regions = [noise[y : y + 32, x : x + 32] for y in (40, 56) for x in (30, 46, 62)]
        powers.append(noise_power(np.stack(regions), pixel_mm))
    assert powers[0].mean_per_mm == pytest.approx(powers[1].mean_per_mm, rel=0.06)
    assert powers[0].mean_per_px < 0.85 * powers[1].mean_per_px


def test_the_level_can_be_given_in_hu(full: NDArray[np.float32], rays: NDArray[np.float32]) -> None:
    noise = added_noise(full, rays, PIXEL, LowerDose(0.25, "sharp", noise_hu=33.0), seed=1)
    assert noise[tissue(full)].std() == pytest.approx(33.0, rel=0.03)
    assert abs(noise[tissue(full)].mean()) < 3


def test_it_is_a_function_of_the_seed_and_every_slice_has_its_own(
    full: NDArray[np.float32], rays: NDArray[np.float32]
) -> None:
    dose = LowerDose(0.5, "soft")
    first, again, other = (added_noise(full, rays, PIXEL, dose, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(first[0].ravel(), first[1].ravel())[0, 1]) < 0.05


def test_slices_need_not_be_square(full: NDArray[np.float32], rays: NDArray[np.float32]) -> None:
    tall = full[:, :, 8:-12]
    noise = added_noise(tall, line_integrals(tall, PIXEL, VIEWS), PIXEL, LowerDose(0.25, "soft"), seed=1)
    whole = added_noise(full, rays, PIXEL, LowerDose(0.25, "soft"), seed=1)
    assert noise.shape == tall.shape
    assert noise[tissue(tall)].std() == pytest.approx(whole[tissue(full)].std(), rel=0.1)


def test_without_soft_tissue_there_is_no_level() -> None:
    air = np.full((2, 64, 64), -1000, np.float32)
    with pytest.raises(SeriesError, match="soft tissue"):
        added_noise(air, line_integrals(air, 1.0, 8), 1.0, LowerDose(0.25, "soft"), seed=0)


def real_slices(real_data: Path, series: str) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Quarter and full dose of every second slice of a series, and its pixel size."""
    infos = [find_series(real_data / "mayo2016_pairs" / series / dose)[0][0] for dose in ("quarter_dose", "full_dose")]
    quarter, full = (read_series(info).hu[::2] for info in infos)
    return quarter, full, infos[0].spacing_mm[1]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("kernel", "series"), [("b30", ("L143/3mm_B30f",)), ("d45", ("L096/3mm_D45f", "L143/3mm_D45f"))]
)
def test_noise_has_the_texture_and_level_of_real_quarter_dose(
    real_data: Path, kernel: Kernel, series: tuple[str, ...]
) -> None:
    inserted, real = [], []
    for name in series:
        quarter, full, pixel_mm = real_slices(real_data, name)
        rays = line_integrals(full, pixel_mm, 180)
        noise = added_noise(full, rays, pixel_mm, LowerDose(0.25, kernel), seed=0)
        for low_hu, full_hu, added in zip(quarter, full, noise, strict=True):
            corners = flat_windows(low_hu)
            inserted.append(cut_windows(added, corners))
            real.append(cut_windows(low_hu - full_hu, corners))
    ours, theirs = (noise_power(np.concatenate(windows), 1.0) for windows in (inserted, real))
    assert texture_distance(ours, theirs) <= 0.08
    assert ours.noise_hu == pytest.approx(theirs.noise_hu, rel=0.1)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("series", "kernel"), [("L143/3mm_B30f", "medium"), ("L096/3mm_D45f", "ramp"), ("L143/3mm_D45f", "ramp")]
)
def test_the_noise_of_real_quarter_dose_is_met_within_a_tenth(real_data: Path, series: str, kernel: Kernel) -> None:
    folder = real_data / "mayo2016_pairs" / series
    infos = [find_series(folder / dose)[0][0] for dose in ("full_dose", "quarter_dose")]
    full, quarter = (read_series(info).hu[1::3] for info in infos)
    pixel_mm = infos[0].spacing_mm[1]
    simulated = added_noise(full, line_integrals(full, pixel_mm, 180), pixel_mm, LowerDose(0.25, kernel), seed=0)
    where = tissue(quarter)
    ratios = [
        simulated[n][where[n]].std() / (quarter - full)[n][where[n]].std() for n in range(len(full)) if where[n].any()
    ]
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1)
