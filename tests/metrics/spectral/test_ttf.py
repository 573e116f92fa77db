"""The task transfer function of rods blurred by a Gaussian, in closed form."""

import numpy as np
import pytest
from scipy import ndimage, stats

from ctcycle.metrics.spectral.ttf import (
    TaskTransfer,
    compare_transfer,
    edge_profile,
    edge_transfer,
    falls_to,
    realisations_needed,
    rod_centre,
    task_transfer,
)

CENTRE = (47.3, 47.9)
F50, F10 = np.sqrt(np.log(2) / 2) / np.pi, np.sqrt(np.log(10) / 2) / np.pi


def rod(sigma, radius=20.0, contrast=100.0, centre=CENTRE):
    """A disc convolved with a Gaussian, sampled at the centres of pixels: a noncentral χ² distribution, exactly."""
    rows, columns = np.indices((96, 96))
    squared = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
    return 40 + contrast * stats.ncx2.cdf((radius / sigma) ** 2, 2, squared / sigma**2)


@pytest.mark.parametrize("contrast", [-40.0, 300.0])
@pytest.mark.parametrize("radius", [10.0, 20.0])
@pytest.mark.parametrize("sigma", [0.8, 1.2, 2.0])
def test_gaussian_in_closed_form(sigma, radius, contrast):
    found = task_transfer(rod(sigma, radius, contrast), 0.7, radius)
    assert found.f50_per_mm == pytest.approx(F50 / sigma / 0.7, rel=0.01)
    assert found.f10_per_mm == pytest.approx(F10 / sigma / 0.7, rel=0.01)
    assert found.contrast_hu == pytest.approx(contrast, rel=0.01)
    assert found.centre_px == pytest.approx(CENTRE, abs=0.01)
    assert found.contrast_to_noise > 1000
    expected = np.exp(-2 * (np.pi * sigma * 0.7 * found.frequency_per_mm) ** 2)
    assert found.transfer == pytest.approx(expected, abs=0.01)
    assert found.frequency_per_mm[-1] == pytest.approx(1 / 0.7, rel=0.01)


def test_the_centre_is_found_from_a_wrong_start():
    exact = task_transfer(rod(0.8), 1.0, 20)
    for start in [(47.6, 47.9), (45.0, 50.0)]:
        moved = task_transfer(rod(0.8), 1.0, 20, start)
        assert moved.centre_px == pytest.approx(CENTRE, abs=0.01)
        assert moved.f50_per_mm == pytest.approx(exact.f50_per_mm, rel=0.002)


@pytest.mark.parametrize("sigma", [1.2, 2.0])
def test_a_wrong_centre_moves_little(sigma):
    wrong = (CENTRE[0] + 0.3, CENTRE[1])
    moved = falls_to(0.5, *edge_transfer(edge_profile(rod(sigma), 20, wrong)[0], 20))
    assert moved == pytest.approx(F50 / sigma, rel=0.02)


def test_a_rod_in_noise():
    rng = np.random.default_rng(0)
    noisy = [task_transfer(rod(1.0) + rng.normal(0, 100 / 15, (96, 96)), 1.0, 20) for _ in range(20)]
    f50 = np.array([found.f50_per_mm for found in noisy])
    assert f50.mean() == pytest.approx(F50, rel=0.02)
    assert f50.std() < 0.05 * F50
    assert np.mean([found.contrast_to_noise for found in noisy]) == pytest.approx(15, rel=0.05)


def test_planted_blur_is_named():
    sharp = task_transfer(rod(0.8), 0.7, 20)
    blurred = task_transfer(ndimage.gaussian_filter(rod(0.8), 1.0), 0.7, 20)
    lost = compare_transfer(blurred, sharp)
    assert lost.f50_ratio < 0.9
    assert lost.f50_ratio == pytest.approx(0.8 / np.hypot(0.8, 1), rel=0.01)
    assert lost.f10_ratio == pytest.approx(0.8 / np.hypot(0.8, 1), rel=0.01)
    expected = np.exp(-2 * (np.pi * 0.7 * lost.frequency_per_mm) ** 2)
    assert lost.ratio == pytest.approx(expected, abs=0.02)
    same = compare_transfer(sharp, sharp)
    assert (same.f50_ratio, same.ratio.min(), same.ratio.max()) == (1, 1, 1)


def test_how_many_realisations():
    assert realisations_needed(-40, 20) == 57
    assert realisations_needed(900, 20) == 1
    assert realisations_needed(300, 20) == 1


def test_a_transfer_that_does_not_fall_has_no_frequency():
    frequency = np.linspace(0, 1, 11)
    assert np.isnan(falls_to(0.5, frequency, np.ones(11)))
    assert falls_to(0.5, frequency, 1 - frequency) == pytest.approx(0.5)
    assert falls_to(0.5, frequency, np.array([1, 0.6, 0.2, *np.ones(8)])) == pytest.approx(0.125)


def test_the_centre_is_exact_without_noise():
    assert rod_centre(rod(1.0, 12), 12, (46, 46)) == pytest.approx(CENTRE, abs=1e-3)
    assert rod_centre(rod(2.0), 20, (43.9, 51.3)) == pytest.approx(CENTRE, abs=1e-3)


def test_the_steps_of_the_profile_do_not_blur():
    assert task_transfer(rod(0.5), 1.0, 20).f50_per_mm == pytest.approx(F50 / 0.5, rel=0.003)


@pytest.mark.parametrize("image", [np.full((96, 96), 40.0), rod(1.0, centre=(47.3, 54.0))])
def test_a_rod_that_is_not_there_is_named(image):
    with pytest.raises(ValueError, match="no rod is seen near"):
        task_transfer(image, 1.0, 20)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="radius_px=9"):
        task_transfer(rod(1.0), 1.0, 9)
    with pytest.raises(ValueError, match="at least 120 px"):
        task_transfer(rod(1.0), 1.0, 50)
    with pytest.raises(ValueError, match="one pixel size"):
        compare_transfer(task_transfer(rod(1.0), 1.0, 20), task_transfer(rod(1.0), 0.5, 20))


def test_without_noise_the_ratio_to_noise_is_infinite():
    nothing = np.zeros(3)
    assert TaskTransfer(nothing, nothing, 1.0, 1.0, 100.0, 0.0, CENTRE).contrast_to_noise == np.inf
