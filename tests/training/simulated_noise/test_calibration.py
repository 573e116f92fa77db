from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.errors import SeriesError
from ctcycle.training.simulated_noise.calibration import calibrate, flat_places, kernel_of, mean_power

BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16


def anatomy(rng: np.random.Generator) -> NDArray[np.float64]:
    """A disc of soft tissue with smooth structure, in air."""
    y, x = np.mgrid[:160, :160] - 80
    smooth = ndimage.gaussian_filter(rng.normal(size=(160, 160)), 12)
    return np.where(np.hypot(y, x) < 70, 40 + 200 * smooth, -1000.0)


def domains(gain: float, count: int = 24) -> tuple[list[NDArray[np.int16]], ...]:
    """Low dose, full dose of others, and white noise z for each full dose; low dose has gain · (blur ∗ white) more."""
    rng = np.random.default_rng(0)
    full, low, noise = [], [], []
    for _ in range(count):
        full.append(np.rint(anatomy(rng) + rng.normal(0, 10, (160, 160))).astype(np.int16))
        added = gain * ndimage.convolve(rng.normal(0, 40, (160, 160)), BLUR)
        low.append(np.rint(anatomy(rng) + rng.normal(0, 10, (160, 160)) + added).astype(np.int16))
        noise.append(np.rint(rng.normal(0, 40, (160, 160))).astype(np.int16))
    return low, full, noise


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_a_known_gain_and_kernel_are_found_within_a_tenth(gain: float) -> None:
    low, full, noise = domains(gain)
    found = calibrate(low, full, noise.__getitem__, side=11)
    assert found.shape == (11, 11)
    assert np.sqrt((found**2).sum()) == pytest.approx(gain * np.sqrt((BLUR**2).sum()), rel=0.1)
    expected = np.pad(gain * BLUR, 4)
    assert np.abs(found - expected).max() < 0.1 * expected.max()
    assert found == pytest.approx(found[::-1, ::-1], abs=1e-6)


def test_flat_places_are_soft_tissue_and_no_slice_has_more_than_four() -> None:
    low, _, _ = domains(1.0, count=6)
    places = flat_places(low)
    assert 0 < len(places) <= 12
    counts = [sum(place.index == number for place in places) for number in range(6)]
    assert max(counts) <= 4
    assert all(-50 < place.cut(low[place.index]).mean() < 150 for place in places)
    with pytest.raises(SeriesError, match="no flat patch of soft tissue"):
        flat_places([np.full((64, 64), -1000, np.int16)])


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    rng = np.random.default_rng(1)
    power = mean_power([rng.normal(0, 20, (32, 32)) for _ in range(400)])
    assert power[3:] == pytest.approx(np.full(14, 400.0), rel=0.1)


def test_a_domain_that_is_not_noisier_is_refused() -> None:
    _, full, noise = domains(0.0)
    quiet: Sequence[NDArray[np.int16]] = [
        np.rint(ndimage.gaussian_filter(image * 1.0, 2)).astype(np.int16) for image in full
    ]
    with pytest.raises(SeriesError, match="low-dose domain is not noisier"):
        calibrate(quiet, full, noise.__getitem__, side=11)


@pytest.mark.parametrize("side", [1, 11, 41])
def test_a_constant_gain_is_a_single_weight(side: int) -> None:
    kernel = kernel_of(np.full(17, 1.5), side)
    expected = np.zeros((side, side))
    expected[side // 2, side // 2] = 1.5
    assert kernel == pytest.approx(expected, abs=1e-6)
