"""Parts of a slice to show: the body, and in it the organs rather than the middle or the skin."""

import numpy as np
import pytest
from scipy import ndimage

from ctcycle.evaluation.page.regions import body_region, busiest_region


def body(side: int = 256) -> np.ndarray:
    """A flat ellipse of soft tissue in air, with small vessels in its upper left part."""
    y, x = np.mgrid[:side, :side] - side / 2
    image = np.where(np.hypot(x / 110, y / 90) < 1, 50.0, -1000.0)
    for row in range(70, 110, 12):
        for column in range(80, 120, 12):
            image[np.hypot(y + side / 2 - row, x + side / 2 - column) < 3] = 150.0
    return ndimage.gaussian_filter(image, 0.8)


@pytest.mark.parametrize("noise_hu", [0.0, 30.0])
def test_the_vessels_are_magnified_whatever_the_noise(noise_hu: float) -> None:
    image = body() + np.random.default_rng(0).normal(0, noise_hu, (256, 256))
    rows, columns = busiest_region(image, 64)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (64, 64)
    assert rows.start <= 72
    assert rows.stop >= 106
    assert columns.start <= 82
    assert columns.stop >= 116


def test_an_image_smaller_than_the_region_is_shown_completely() -> None:
    assert busiest_region(body(256)[96:160, 90:170], 96) == (slice(0, 64), slice(0, 80))


def test_an_image_without_a_body() -> None:
    air = np.full((100, 120), -1000.0)
    assert body_region(air) == (slice(None), slice(None))
    rows, columns = busiest_region(air, 64)
    assert air[rows, columns].shape == (64, 64)


def test_the_body_has_a_margin() -> None:
    rows, columns = body_region(body())
    assert (rows.start, rows.stop) == pytest.approx((38 - 6, 218 + 6), abs=3)
    assert (columns.start, columns.stop) == pytest.approx((18 - 6, 238 + 6), abs=3)
