from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ctcycle.simulation.anatomy import tissues
from ctcycle.simulation.anatomy.build import AIR
from ctcycle.simulation.blobs import Blob
from ctcycle.simulation.phantom import Patient, draw_slab, draw_slice, make_patient

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


def test_tissue_is_textured_but_air_is_not(patients: list[Patient]) -> None:
    patient = patients[1]
    textured = draw_slice(patient, 0.0, SIZE, PIXEL)
    plain = draw_slice(replace(patient, texture_level=0.0), 0.0, SIZE, PIXEL)
    soft = (plain > 0) & (plain < 200)
    assert 2 < (textured - plain)[soft].std() / patient.texture_level < 12
    assert not (textured - plain)[OUTSIDE | (plain == AIR)].any()


def test_marrow_has_trabeculae_and_compact_bone_has_not() -> None:
    shell = Blob(800.0, (0.0, 0.0, 0.0), (30.0, 30.0, 50.0))
    bone = (shell, shell.shrunk(6.0, 190.0, tissues.MARROW))
    patient = replace(make_patient(np.random.default_rng(0)), blobs=bone, texture_level=1.0)
    hu = draw_slice(patient, 0.0, SIZE, 0.5)
    radius = np.hypot(*np.meshgrid(np.arange(SIZE) - SIZE // 2, np.arange(SIZE) - SIZE // 2)) * 0.5
    assert np.all(hu[(radius > 25) & (radius < 29)] == 800)
    marrow = hu[radius < 22]
    assert marrow.mean() == pytest.approx(190, abs=15)
    assert 35 < marrow.std() < 65


def test_texture_levels_double_with_the_patient_s(patients: list[Patient]) -> None:
    plain, once, twice = (draw_slice(replace(patients[2], texture_level=k), 0.0, SIZE, PIXEL) for k in (0.0, 1.0, 2.0))
    tissue = plain > -200
    assert np.allclose((twice - plain)[tissue], 2 * (once - plain)[tissue], atol=1e-3)


def test_the_reach_holds_body_and_table_and_hardly_more(patients: list[Patient], slices: np.ndarray) -> None:
    distance = np.hypot(ALONG, ALONG[:, None])
    for patient, hu in zip(patients, slices, strict=True):
        farthest = distance[hu > AIR + 1].max()
        assert farthest - 1.5 * PIXEL < patient.reach_mm < farthest + 20


def test_a_thick_slice_shows_the_share_of_what_is_in_it(patients: list[Patient]) -> None:
    plate = Blob(100.0, (0.0, 0.0, 0.0), (1e3, 1e3, 0.9), taper=100.0)
    plain = replace(patients[0], blobs=(plate,), texture_level=0.0)
    shares = [draw_slab(plain, 0.0, thickness_mm, 16, 2.0)[8, 8] for thickness_mm in (1.0, 3.0, 5.0)]
    assert shares == pytest.approx([100, AIR + (100 - AIR) * 3 / 5, AIR + (100 - AIR) / 5], abs=1)
