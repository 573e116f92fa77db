from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage
from watched_slices import DOMAINS, SLICES, Image, clean, good, scaled

from ctcycle.training.monitor.measures import measure


def test_the_domains_differ_by_three_quarters_of_the_power() -> None:
    assert DOMAINS.expected() == pytest.approx(1 - 20**2 / 40**2, abs=0.03)


def test_the_identity_changes_nothing() -> None:
    found = measure(lambda image: image, SLICES, DOMAINS)
    names = ("removed", "shift_soft_hu", "shift_air_hu", "structure")
    assert [found[name] for name in names] == pytest.approx([0.0] * 4)
    assert found["contrast"] == pytest.approx(1.0)
    assert found["noise_over_full"] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("factor", [0.5, 0.25])
def test_noise_that_is_removed_is_measured(factor: float) -> None:
    found = measure(lambda image: scaled(image, factor), SLICES, DOMAINS)
    for name in ("removed", "removed_low", "removed_middle", "removed_high"):
        assert found[name] == pytest.approx((1 - factor**2) / 0.75, rel=0.06), name
    assert found["noise_over_full"] == pytest.approx(2 * factor, rel=0.05)
    assert found["texture"] < 0.1
    assert found["contrast"] == pytest.approx(factor)  # this denoiser takes the disc for noise
    assert abs(found["structure"]) < 0.05


def test_the_gain_on_simulated_noise_is_that_of_the_formula() -> None:
    """Halving all noise n + m, of which n belongs to full dose, leaves (m - n) / 2; before, the error was m."""
    found = measure(lambda image: scaled(image, 0.5), SLICES[:1], DOMAINS)
    added = 40**2 - 20**2
    assert found["gain_db"] == pytest.approx(10 * np.log10(added / ((added + 20**2) / 4)), abs=0.2)
    assert measure(lambda image: image, SLICES[:1], DOMAINS)["gain_db"] == pytest.approx(0.0)
    assert measure(lambda image: image + 100, SLICES[:1], DOMAINS)["gain_db"] < -5


def test_a_shift_of_hu_is_measured_by_tissue() -> None:
    found = measure(lambda image: image + np.where(clean() > -500, 7.0, -3.0), SLICES, DOMAINS)
    assert found["shift_soft_hu"] == pytest.approx(7.0, abs=0.01)
    assert found["shift_air_hu"] == pytest.approx(-3.0, abs=0.01)


def test_blur_removes_structure_contrast_and_texture() -> None:
    found = measure(lambda image: ndimage.gaussian_filter(image, 2.5), SLICES, DOMAINS)
    assert found["structure"] > 0.3
    assert found["contrast"] < 0.4
    assert found["noise_over_full"] < 0.5
    assert found["texture"] > 0.3


def test_the_penalty_prefers_denoising_to_the_identity_blur_and_shift() -> None:
    def penalty(denoise: Callable[[Image], Image]) -> float:
        return measure(denoise, SLICES[:1], DOMAINS)["penalty"]

    best = penalty(good)
    for bad in (
        lambda image: image,
        lambda image: ndimage.gaussian_filter(image, 2.0),
        lambda image: good(image) + 8.0,
        lambda image: scaled(image, 0.8),
    ):
        assert penalty(bad) > best + 0.5
