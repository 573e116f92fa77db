from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ctcycle.simulation.anatomy import AIR
from ctcycle.simulation.blobs import Blob
from ctcycle.simulation.phantom import TEXTURE_GRID_MM, Patient, draw_slab, draw_slice, make_patient, make_texture

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
    plain = draw_slice(replace(patient, texture_hu=0.0), 0.0, SIZE, PIXEL)
    soft = (plain > -80) & (plain < 200)
    assert (textured - plain)[soft].std() == pytest.approx(patient.texture_hu, rel=0.35)
    assert not (textured - plain)[plain < -200].any()


def test_texture_has_the_same_power_in_every_octave() -> None:
    texture = make_texture(np.random.default_rng(0))
    assert texture.mean() == pytest.approx(0, abs=1e-4)
    assert texture.std() == pytest.approx(1, rel=1e-4)
    power = np.abs(np.fft.fftn(texture)) ** 2 / texture.size**2
    along = np.fft.fftfreq(len(texture), TEXTURE_GRID_MM)
    frequency = np.sqrt(along[:, None, None] ** 2 + along[:, None] ** 2 + along**2)
    octaves = [power[(frequency > f) & (frequency <= 2 * f)].sum() for f in (1 / 48, 1 / 24, 1 / 12, 1 / 6)]
    assert octaves == pytest.approx(np.full(4, np.mean(octaves)), rel=0.1)


def test_texture_repeats_without_a_seam_and_goes_through_its_grid(patients: list[Patient]) -> None:
    patient = replace(patients[0], blobs=(replace(patients[0].blobs[0], hu=50.0, radii=(1e4, 1e4, 1e4)),))
    period = len(patient.texture) * TEXTURE_GRID_MM
    on_grid = draw_slice(patient, 3 * TEXTURE_GRID_MM, 64, TEXTURE_GRID_MM)
    rows = np.arange(-32, 32) % len(patient.texture)
    assert np.allclose(on_grid, 50 + patient.texture_hu * patient.texture[3][np.ix_(rows, rows)], atol=1e-2)
    assert np.allclose(draw_slice(patient, 3 * TEXTURE_GRID_MM + period, 64, TEXTURE_GRID_MM), on_grid, atol=1e-2)
    between = draw_slice(patient, 3.5 * TEXTURE_GRID_MM, 64, TEXTURE_GRID_MM)
    following = draw_slice(patient, 4 * TEXTURE_GRID_MM, 64, TEXTURE_GRID_MM)
    assert np.allclose(between, (on_grid + following) / 2, atol=1e-2)


def test_a_thick_slice_shows_the_share_of_what_is_in_it(patients: list[Patient]) -> None:
    plate = Blob(100.0, (0.0, 0.0, 0.0), (1e3, 1e3, 0.9), taper=100.0)
    plain = replace(patients[0], blobs=(plate,), texture_hu=0.0)
    shares = [draw_slab(plain, 0.0, thickness_mm, 16, 2.0)[8, 8] for thickness_mm in (1.0, 3.0, 5.0)]
    assert shares == pytest.approx([100, AIR + (100 - AIR) * 3 / 5, AIR + (100 - AIR) / 5], abs=1)
