"""Small PNG files of images: limits, signs and size."""

import io

import numpy as np
import pytest
from PIL import Image

from ctcycle.report.pixels import grey_png, side_by_side, signed_png


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


def test_pictures_in_one_row_below_their_titles() -> None:
    black, white = (grey_png(np.full((40, 60), value), (0.0, 1.0)) for value in (0.0, 1.0))
    found = pixels(side_by_side([("low dose", black), ("full dose", white)]))[..., 0]
    assert (found == 0).sum() >= 40 * 60
    dark = np.argwhere(found[30:] == 0)
    assert dark.min(0)[1] < 10
    assert dark.max(0)[1] < found.shape[1] / 2
    assert (found[:20] < 128).any()  # the titles


def test_magnified_pixels_are_squares_and_long_titles_are_not_cut() -> None:
    dots = np.zeros((8, 8))
    dots[4, 4] = 1.0
    found = pixels(side_by_side([("a", grey_png(dots, (0.0, 1.0)))], magnified=True))[..., 0]
    (rows, columns) = np.nonzero(found[26:, 6:30] == 255)
    assert len(rows[(rows < 24) & (columns < 24)]) == 9
    wide = pixels(side_by_side([("a very long title of a method", grey_png(dots, (0.0, 1.0)))]))
    assert wide.shape[1] > 150
