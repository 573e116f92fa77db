from itertools import pairwise

import numpy as np
import pytest

from ctcycle.simulation.anatomy import AIR
from ctcycle.simulation.phantom import Patient, draw_slice, make_patient

SIZE, PIXEL = 128, 2.8
ALONG = (np.arange(SIZE) - SIZE // 2) * PIXEL
OUTSIDE = np.hypot(ALONG, ALONG[:, None]) > SIZE // 2 * PIXEL
SEEDS = range(24)


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return [make_patient(np.random.default_rng(seed)) for seed in SEEDS]


@pytest.fixture(scope="module")
def slices(patients: list[Patient]) -> np.ndarray:
    return np.stack([draw_slice(patient, patient.level_mm, SIZE, PIXEL) for patient in patients])


def test_the_generator_decides_everything(slices: np.ndarray) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (it must not be touched)
    again = make_patient(np.random.default_rng(SEEDS[3]))
    assert np.array_equal(draw_slice(again, again.level_mm, SIZE, PIXEL), slices[3])
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_slices_are_finite_float32_in_the_range_of_tissue(slices: np.ndarray) -> None:
    assert slices.dtype == np.float32
    assert slices.min() == AIR
    assert 500 < slices.max() < 1100


def test_patient_and_table_lie_within_the_circle_that_is_projected(slices: np.ndarray) -> None:
    assert np.all(slices[:, OUTSIDE] == AIR)


def test_every_patient_has_gas_fat_soft_tissue_and_bone_in_the_shares_of_an_abdomen(slices: np.ndarray) -> None:
    body = np.array([np.count_nonzero(hu > -200) for hu in slices])
    area_cm2 = body * PIXEL**2 / 100
    assert area_cm2.min() > 300
    assert area_cm2.max() < 850
    for low, high, least, most in ((-140, -70, 0.1, 0.6), (0, 250, 0.3, 0.85), (400, 1200, 0.003, 0.06)):
        share = np.array([np.count_nonzero((hu > low) & (hu < high)) for hu in slices]) / body
        assert least < share.min()
        assert share.max() < most


def test_the_table_is_under_the_patient(slices: np.ndarray) -> None:
    for column in slices[:, :, SIZE // 2]:
        skin = np.flatnonzero(column > -200)[-1]
        foam = np.flatnonzero((column > -990) & (column < -800))
        assert np.count_nonzero(foam > skin - 2) * PIXEL == pytest.approx(20, abs=12)
        assert foam[-1] * PIXEL < skin * PIXEL + 40


def test_neighbouring_slices_are_alike_and_patients_are_not(patients: list[Patient], slices: np.ndarray) -> None:
    def difference(first: np.ndarray, second: np.ndarray) -> float:
        return float(np.abs(first.clip(-200, 300) - second.clip(-200, 300)).mean())

    within = [
        difference(hu, draw_slice(p, p.level_mm + 5, SIZE, PIXEL)) for p, hu in zip(patients, slices, strict=True)
    ]
    between = [difference(first, second) for first, second in pairwise(slices)]
    assert min(within) > 0.5
    assert np.median(within) < 0.35 * np.median(between)


def test_contrast_phase_and_size_differ_between_patients(slices: np.ndarray) -> None:
    brightness = [np.median(hu[(hu > 20) & (hu < 200)]) for hu in slices]
    width = [np.count_nonzero((hu > -200).any(axis=0)) * PIXEL for hu in slices]
    assert np.std(brightness) > 8
    assert np.std(width) > 10


def test_half_the_pixel_shows_the_same_anatomy(patients: list[Patient]) -> None:
    patient = patients[0]
    coarse, fine = (draw_slice(patient, 0.0, 96 * k, 4.0 / k) for k in (1, 2))
    # pixel centres of the fine grid lie at 0, 1/2, 1 ... of the coarse one
    weights = np.array([0.25, 0.5, 0.25])
    blurred = sum(
        a * b * np.roll(fine, (i, j), (0, 1)) for i, a in enumerate(weights, -1) for j, b in enumerate(weights, -1)
    )
    assert np.abs(blurred[::2, ::2] - coarse).mean() < 12
    assert np.abs(blurred[1::2, 1::2] - coarse).mean() > 20


def test_soft_tissue_is_textured_but_air_is_not(patients: list[Patient]) -> None:
    patient = patients[1]
    textured = draw_slice(patient, 0.0, SIZE, PIXEL)
    plain = draw_slice(Patient(patient.blobs, patient.waves, 0.0, 0.0), 0.0, SIZE, PIXEL)
    soft = (plain > -80) & (plain < 200)
    assert (textured - plain)[soft].std() == pytest.approx(patient.texture_hu, rel=0.35)
    assert not (textured - plain)[plain < -200].any()
