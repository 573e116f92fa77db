import math

import numpy as np
import pytest
from skimage.transform import radon

from ctcycle.errors import SeriesError
from ctcycle.simulation.projection import project, view_angles


def disc(size: int, pixel_mm: float, radius_mm: float, centre: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    fine = 4
    along = (np.arange(size * fine) / fine - size // 2 - 0.5 + 0.5 / fine) * pixel_mm
    inside = np.hypot(along - centre[0], along[:, None] - centre[1]) < radius_mm
    return inside.reshape(size, fine, size, fine).mean((1, 3))


def chord(offset_mm: np.ndarray, radius_mm: float) -> np.ndarray:
    return 2 * np.sqrt(np.maximum(radius_mm**2 - offset_mm**2, 0))


def test_views_are_spread_over_a_half_turn_without_its_end() -> None:
    assert view_angles(4).tolist() == [0.0, 45.0, 90.0, 135.0]


@pytest.mark.parametrize("pixel_mm", [0.7, 2.0])
@pytest.mark.parametrize("size", [96, 97])
def test_a_disc_projects_to_its_chords_in_mm_in_every_view(size: int, pixel_mm: float) -> None:
    radius = 0.35 * size * pixel_mm
    result = project(0.02 * disc(size, pixel_mm, radius), pixel_mm, views=12)
    offset = (np.arange(len(result)) - len(result) // 2) * pixel_mm
    expected = 0.02 * chord(offset, radius)
    assert result.dtype == np.float32
    assert np.abs(result - expected[:, None]).mean() < 0.004 * expected.max()
    assert result.sum(0) * pixel_mm == pytest.approx(np.full(12, 0.02 * math.pi * radius**2), rel=2e-3)


@pytest.mark.parametrize("size", [64, 65, 66])
def test_the_detector_sees_the_diagonal_and_corners_are_projected_like_skimage_does(size: int) -> None:
    slice_mu = np.zeros((size, size), np.float32)
    slice_mu[2:9, 50:60] = 0.02
    result = project(slice_mu, 1.5, views=20)
    expected = 1.5 * radon(slice_mu, view_angles(20), circle=False, preserve_range=True)
    assert result.shape == (math.ceil(math.sqrt(2) * size), 20)
    assert np.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("views", [14, 15])
@pytest.mark.parametrize("size", [64, 65])
def test_what_lies_in_the_circle_gives_the_same_sinogram_on_the_short_way(size: int, views: int) -> None:
    mu = disc(size, 1.0, 12.0, (9.0, -5.0)).astype(np.float32)
    expected = radon(mu, view_angles(views), circle=False, preserve_range=True)
    assert np.allclose(project(mu, 1.0, views), expected, atol=2e-4)


@pytest.mark.parametrize("shape", [(64, 48), (2, 64, 64)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SeriesError, match="only square slices"):
        project(np.zeros(shape), 1.0, 10)
