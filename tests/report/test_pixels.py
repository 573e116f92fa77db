"""Small PNG files of images: limits, signs and size."""

import io

import numpy as np
import pytest
from PIL import Image

from ctcycle.report.pixels import grey_png, signed_png


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_grey_runs_from_black_to_white_within_a_level() -> None:
    hu = np.linspace(-260, 340, 601, dtype=np.float32)[None]
    shown = pixels(grey_png(hu, (-160.0, 240.0)))
    expected = np.clip((hu + 160) / 400, 0, 1) * 255
    assert np.abs(shown[..., 0] - expected).max() <= 255 / 63 / 2 + 0.5
    assert (shown[..., 0] == shown[..., 2]).all()


def test_differences_are_blue_below_white_at_and_red_above_zero() -> None:
    (below, none, above, unknown) = pixels(signed_png(np.array([[-80.0, 0.0, 80.0, np.nan]]), 100.0))[0]
    assert below[2] > below[0] + 50
    assert above[0] > above[2] + 50
    assert none.min() > 240
    assert (unknown == none).all()


def test_shape_is_kept() -> None:
    assert pixels(grey_png(np.zeros((5, 9)), (0.0, 1.0))).shape == pytest.approx((5, 9, 3))
