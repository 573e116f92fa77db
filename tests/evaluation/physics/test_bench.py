"""The defects that the bench must name, planted in a small scene."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.errors import SeriesError
from ctcycle.evaluation.findings import Finding, StudyResult
from ctcycle.evaluation.physics.bench import MEASURES, PhysicsBench
from ctcycle.evaluation.physics.discs import Disc, disc_image
from ctcycle.evaluation.physics.scenes import lesions_image
from ctcycle.evaluation.physics.settings import PhysicsSettings

Image = NDArray[np.float32]

SETTINGS = PhysicsSettings(
    size=192, pixel_mm=1.2, diameter_mm=200.0, views=270, kernel="soft", photons=2e5, realisations=26
)


@pytest.fixture(scope="module")
def bench() -> PhysicsBench:
    return PhysicsBench(SETTINGS, seed=0, workers=2)


@pytest.fixture(scope="module")
def untouched(bench: PhysicsBench) -> StudyResult:
    return bench.study("input", lambda low: low)


@pytest.fixture(scope="module")
def blurred(bench: PhysicsBench) -> StudyResult:
    return bench.study("blur", lambda low: ndimage.gaussian_filter(low, 1.0))


def finding(result: StudyResult, measure: str) -> Finding:
    return next(found for found in result.findings if found.measure == measure)


def value(result: StudyResult, measure: str) -> float:
    found = finding(result, measure).value
    assert found is not None
    return found


def test_every_measure_is_found_once_and_described(untouched: StudyResult) -> None:
    assert sorted(found.measure for found in untouched.findings) == sorted(measure.key for measure in MEASURES)
    assert {found.bench for found in untouched.findings} == {"physics"}
    assert {curve.plot for curve in untouched.curves} == {"nps", "ttf"}
    assert [picture.topic for picture in untouched.pictures] == ["lesions", "false_structures"]


def test_input_loses_nothing(untouched: StudyResult) -> None:
    for size in ("1p5mm", "3mm", "5mm"):
        found = finding(untouched, f"d_prime_ratio_{size}")
        assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1), abs=1e-6)
        assert found.note == "kept"
        assert found.count >= 200
        assert value(untouched, f"equivalent_dose_{size}") == pytest.approx(0.25, abs=1e-6)
    assert value(untouched, "resolution_plus900_f50_ratio") == pytest.approx(1, abs=0.03)
    assert value(untouched, "texture_distance") < 0.03
    assert abs(value(untouched, "bias_hu")) < 0.5


@pytest.mark.parametrize("size", ["1p5mm", "3mm", "5mm"])
def test_full_dose_is_found_with_the_wanted_certainty(untouched: StudyResult, size: str) -> None:
    words = finding(untouched, f"d_prime_{size}").note
    assert "contrast -" in words
    assert 2 < float(words.rpartition(" ")[2]) < 3


def test_noise_at_different_sites_is_independent(bench: PhysicsBench) -> None:
    """What makes the places of one slice count as images: the observer's channels do not correlate between them."""
    for task in bench.tasks:
        seen = np.stack([task.seen(noise.real) for noise in bench.scans.noise_hu])
        seen = (seen - seen.mean((0, 1))) / seen.std((0, 1))
        products = [
            (seen[:, a] * seen[:, b]).mean() for a in range(len(task.sites)) for b in range(a + 1, len(task.sites))
        ]
        neighbours = [(seen[:, a] * seen[:, a - 1]).mean() for a in range(len(task.sites))]
        assert abs(float(np.mean(products))) < 0.03
        assert abs(float(np.mean(neighbours))) < 0.1


def test_blur_loses_resolution_but_no_detectability(untouched: StudyResult, blurred: StudyResult) -> None:
    for contrast in ("plus300", "plus900"):
        found = finding(blurred, f"resolution_{contrast}_f50_ratio")
        assert found.high is not None
        assert found.high < 0.9
    assert value(blurred, "noise_hu") < 0.7 * value(untouched, "noise_hu")
    for size in ("3mm", "5mm"):
        assert value(blurred, f"d_prime_ratio_{size}") == pytest.approx(1, abs=0.03)


def test_shift_is_found_as_bias(bench: PhysicsBench, untouched: StudyResult) -> None:
    shifted = bench.study("shift", lambda low: low + np.float32(3))
    assert value(shifted, "bias_hu") - value(untouched, "bias_hu") == pytest.approx(3, abs=1e-3)
    found = finding(shifted, "bias_hu")
    assert found.low is not None
    assert found.high is not None
    assert found.low < 3 < found.high
    assert value(shifted, "bias_rms_hu") == pytest.approx(3, abs=0.5)
    assert value(shifted, "noise_rms_hu") == pytest.approx(value(untouched, "noise_rms_hu"), rel=1e-4)


def test_erased_lesions_are_lost(bench: PhysicsBench) -> None:
    """Small lesions lose 60 % of their contrast where they are seen; the noise stays."""
    small = next(task for task in bench.tasks if task.radius_mm == 1.5)
    lesions = lesions_image(1.5, bench.settings) * np.float32(small.contrast_hu)

    def erase(low: Image) -> Image:
        shown = float(np.vdot(low - bench.scans.disc_hu, lesions) / np.vdot(lesions, lesions))
        return low - np.float32(0.6) * lesions if shown > 0.5 else low

    result = bench.study("erase", erase)
    found = finding(result, "d_prime_ratio_1p5mm")
    assert found.note == "lost"
    assert found.high is not None
    assert found.high < 0.95
    assert finding(result, "d_prime_ratio_5mm").note == "kept"


def test_invented_blobs_are_counted(bench: PhysicsBench, untouched: StudyResult) -> None:
    assert value(untouched, "false_structures_ratio") < 1.5
    places = ((80.0, 96.0), (110.0, 125.0), (120.0, 80.0))
    blobs = disc_image(
        [Disc(place, 3.0 / 1.2, contrast) for place, contrast in zip(places, (60.0, -60.0, 60.0), strict=True)],
        SETTINGS,
    )
    found = finding(bench.study("blobs", lambda low: low + blobs), "false_structures_ratio")
    assert found.value is not None
    assert found.value > 2
    assert found.low is not None
    assert found.low > 1


def test_swapped_texture_of_the_same_level_is_seen(bench: PhysicsBench, untouched: StudyResult) -> None:
    def swap(low: Image) -> Image:
        noise = low - bench.scans.disc_hu
        coarse = ndimage.gaussian_filter(noise, 0.8)
        return bench.scans.disc_hu + coarse * np.float32(noise.std() / coarse.std())

    swapped = bench.study("swap", swap)
    assert value(swapped, "noise_hu") == pytest.approx(value(untouched, "noise_hu"), rel=0.1)
    found = finding(swapped, "texture_distance")
    assert found.low is not None
    assert found.low > 0.1


def test_a_constant_output_has_reasons_instead_of_figures(bench: PhysicsBench) -> None:
    constant = bench.study("constant", lambda low: np.full_like(low, 40))
    for measure in ("texture_distance", "resolution_minus40_f50", "d_prime_3mm", "d_prime_eye_ratio_3mm"):
        found = finding(constant, measure)
        assert found.value is None
        assert found.note
    assert value(constant, "noise_hu") == 0
    assert value(constant, "false_structures_ratio") == 0


@pytest.mark.parametrize("broken", [lambda low: low[:-1], lambda low: low * np.nan])
def test_a_broken_denoiser_is_named(bench: PhysicsBench, broken: Callable[[Image], Image]) -> None:
    with pytest.raises(SeriesError, match="method broken"):
        bench.study("broken", broken)


def test_same_seed_gives_the_same_scans_for_any_number_of_threads(bench: PhysicsBench) -> None:
    small = PhysicsSettings(size=160, pixel_mm=1.4, diameter_mm=200.0, views=30, kernel="soft", realisations=10)
    one, two = (PhysicsBench(small, seed=5, workers=workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.scans.noise_hu, two.scans.noise_hu)
    other = PhysicsBench(small, seed=6)
    assert not np.array_equal(one.scans.noise_hu, other.scans.noise_hu)
