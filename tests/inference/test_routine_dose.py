"""The noise of a routine dose: measured, expected, and told from low dose on phantoms and real scans."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from textured_noise import noisy_trunk, ramp_noise, ramp_spectrum, series_of, theory_hu

from ctcycle.ct.measures import soft_tissue_noise
from ctcycle.ct.series_io import find_series, sample_slices
from ctcycle.inference.routine_dose import (
    ROUTINE_FACTOR,
    DoseLevel,
    dose_level,
    measure_noise,
    routine_noise,
)
from ctcycle.simulation.dataset import simulate_patient
from ctcycle.simulation.settings import Kernel, SimulationSettings


def mean_frequency(cut_off: float) -> float:
    """Mean frequency of the spectrum that the noise was made with, from 2/15 to 0.5 cycles per pixel."""
    power = ramp_spectrum(256, cut_off)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    band = (frequency >= 2 / 15) & (frequency <= 0.5)
    return float((frequency * power)[band].sum() / power[band].sum())


@pytest.mark.parametrize("cut_off", [0.25, 0.3, 0.4, 0.5])
@pytest.mark.parametrize("noise_hu", [10.0, 60.0])
def test_the_frequency_is_that_of_the_spectrum_at_any_level(cut_off: float, noise_hu: float) -> None:
    found = measure_noise(noisy_trunk(noise_hu, cut_off, 4))
    assert found.frequency_per_px == pytest.approx(mean_frequency(cut_off), rel=0.05)


def test_the_level_is_the_median_over_slices_that_have_tissue() -> None:
    slices = [noisy_trunk(level, count=1)[0] for level in (10.0, 20.0, 50.0)]
    air = np.full_like(slices[0], -1000.0)
    found = measure_noise([air, *slices, air])
    assert found.hu == pytest.approx(soft_tissue_noise(slices[1]))
    assert found.frequency_per_px == pytest.approx(measure_noise(slices).frequency_per_px)


@pytest.mark.parametrize("hu", [np.full((64, 64), -1000.0), np.zeros((10, 10)), np.full((64, 64), 40.0)])
def test_no_tissue_or_no_noise_gives_nothing(hu: NDArray[np.float64]) -> None:
    found = measure_noise([hu])
    assert math.isnan(found.hu)
    assert math.isnan(found.frequency_per_px)
    assert measure_noise([]).hu is not None


def test_anatomy_is_not_taken_for_noise() -> None:
    slices = noisy_trunk(15.0)
    slope = 20 * np.linspace(-1, 1, slices.shape[-1], dtype=np.float32)
    assert measure_noise(slices + slope).frequency_per_px == pytest.approx(
        measure_noise(slices).frequency_per_px, abs=0.002
    )


def test_noise_of_one_dose_follows_the_formula_over_kernels() -> None:
    """Of ramp noise in pixels of one size, made with the photons of one dose, the level goes with the cube of f."""
    ratios = []
    for cut_off in (0.2, 0.25, 0.3, 0.35, 0.4, 0.5):
        noise = ramp_noise(256, cut_off, 2) * (20 / theory_hu(cut_off))
        ratios.append(theory_hu(cut_off) / routine_noise(measure_noise(50 + noise).frequency_per_px, 0.75, 3.0))
    assert max(ratios) / min(ratios) < 1.3


def test_the_formula_in_numbers() -> None:
    assert routine_noise(0.25, 1.0, 1.0) == pytest.approx(750 / 64)
    assert routine_noise(0.5, 1.0, 1.0) / routine_noise(0.25, 1.0, 1.0) == pytest.approx(8)
    assert routine_noise(0.3, 0.5, 1.0) / routine_noise(0.3, 1.0, 1.0) == pytest.approx(2**1.5)
    assert routine_noise(0.3, 1.0, 16.0) / routine_noise(0.3, 1.0, 1.0) == pytest.approx(0.5)


@pytest.mark.parametrize(("factor", "is_routine"), [(0.3, True), (1.0, True), (1.4, True), (1.9, False), (4.0, False)])
@pytest.mark.parametrize("cut_off", [0.25, 0.45])
def test_a_series_is_routine_up_to_half_as_much_noise_again(factor: float, is_routine: bool, cut_off: float) -> None:
    routine = routine_noise(mean_frequency(cut_off), 0.75, 3.0)
    sample = series_of(noisy_trunk(factor * routine, cut_off, 4))
    found = dose_level(sample.info, sample.hu)
    assert found.routine_hu == pytest.approx(routine, rel=0.15)
    assert found.is_routine == is_routine
    assert bool(found.warning()) == is_routine


def test_the_warning_has_both_figures() -> None:
    assert DoseLevel(12.34, 15.0).warning() == (
        "noise of 12.3 HU in soft tissue; a routine dose has about 15 HU with this kernel, pixel size and slice "
        "thickness, so this is no low dose and denoising would over-smooth it; set strength=auto to leave such series "
        "unchanged"
    )
    assert not DoseLevel(15.0 * ROUTINE_FACTOR + 0.1, 15.0).warning()
    assert not DoseLevel(10.0, math.nan, "unknown").warning()


@pytest.mark.parametrize(
    ("pixel_mm", "thickness_mm", "spacing_mm", "reason"),
    [
        (0.0, 3.0, 2.0, "pixel size or slice thickness is unknown"),
        (0.75, 0.0, 0.0, "pixel size or slice thickness is unknown"),
        (3.0, 3.0, 2.0, "pixel size of 3 mm; routine noise is known only for 0.4 to 1.2 mm"),
        (0.75, 10.0, 2.0, "slice thickness of 10 mm; routine noise is known only for 0.5 to 8 mm"),
        (0.75, 0.0, 2.0, ""),
    ],
)
def test_outside_of_what_is_known_nothing_is_claimed(
    pixel_mm: float, thickness_mm: float, spacing_mm: float, reason: str
) -> None:
    sample = series_of(noisy_trunk(5.0), pixel_mm, thickness_mm, spacing_mm)
    found = dose_level(sample.info, sample.hu)
    assert found.unknown == reason
    assert found.is_routine == (not reason)


def test_lungs_without_soft_tissue_and_smooth_images_are_unknown() -> None:
    air = series_of(np.full((2, 64, 64), -900, dtype=np.float32))
    assert dose_level(air.info, air.hu).unknown == "no uniform soft tissue to measure noise in"
    smooth = series_of(noisy_trunk(20.0, 0.08))
    assert dose_level(smooth.info, smooth.hu).unknown.startswith("mean noise frequency of 0.1")


@pytest.mark.parametrize("kernel", ["b30", "d45"])
def test_simulated_full_dose_is_routine_and_a_quarter_of_it_is_not(kernel: Kernel) -> None:
    """The photons give the noise of real abdomens in pixels of 1.2 mm."""
    settings = SimulationSettings(
        patients=1, slices=1, slice_spacing_mm=3.0, size=256, pixel_mm=1.2, views=358, photons=5e5, kernel=kernel
    )
    patient = simulate_patient(settings, 0, 0)
    levels = []
    for hu in (patient.full, patient.low):
        sample = series_of(hu, 1.2)
        levels.append(dose_level(sample.info, sample.hu))
    assert [level.is_routine for level in levels] == [True, False]
    assert levels[1].noise_hu / levels[0].noise_hu == pytest.approx(2, rel=0.1)
    assert levels[1].routine_hu == pytest.approx(levels[0].routine_hu, rel=0.1)


@pytest.mark.slow
@pytest.mark.real_data
def test_real_quarter_dose_is_told_from_full_dose(real_data: Path) -> None:
    found = {}
    for folder in ("mayo2016_pairs", "mayo2016_unpaired", "volumes"):
        for info in find_series(real_data / folder)[0]:
            level = dose_level(info, sample_slices(info).hu)
            if not level.unknown:
                found[info.path.relative_to(real_data).as_posix()] = level.is_routine
    low = {name: routine for name, routine in found.items() if "quarter" in name or "ACRIN" in name}
    full = {name: routine for name, routine in found.items() if name not in low}
    assert (len(low), len(full)) == (6, 14)
    assert not any(low.values()), low
    assert all(full.values()), full
