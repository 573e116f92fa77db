import math
from dataclasses import replace

import numpy as np
import pytest

from ctcycle.simulation.blobs import SMOOTH, Blob, Canvas, Grain, Ripple

PIXEL = 1.5
ALONG = ((np.arange(129) - 64) * PIXEL).astype(np.float32)


def painted(*blobs: Blob, z: float = 0.0) -> np.ndarray:
    canvas = Canvas(ALONG, z, 0.0)
    for blob in blobs:
        canvas.paint(blob)
    return canvas.hu


def centroid(image: np.ndarray) -> tuple[float, float]:
    return float((image.sum(0) * ALONG).sum() / image.sum()), float((image.sum(1) * ALONG).sum() / image.sum())


@pytest.mark.parametrize("turn", [0.0, 0.6, math.pi / 2])
def test_an_ellipse_covers_its_area_and_sits_at_its_centre(turn: float) -> None:
    image = painted(Blob(1.0, (10.3, -20.2, 0.0), (40.0, 22.0, 30.0), turn))
    assert image.sum() * PIXEL**2 == pytest.approx(math.pi * 40 * 22, rel=2e-3)
    assert centroid(image) == pytest.approx((10.3, -20.2), abs=0.05)


def test_a_turn_goes_from_x_to_y() -> None:
    x, y = np.meshgrid(ALONG, ALONG)
    image = painted(Blob(1.0, (0, 0, 0), (50.0, 10.0, 30.0), 0.5))
    slope = math.atan2(2 * (image * x * y).sum(), (image * (x * x - y * y)).sum()) / 2
    assert slope == pytest.approx(0.5, abs=0.01)


def test_edges_are_smooth_over_about_one_pixel() -> None:
    profile = painted(Blob(1.0, (0, 0, 0), (30.4, 30.4, 30.0)))[64]
    assert np.count_nonzero((profile > 0) & (profile < 1)) in {2, 4}
    assert profile.sum() * PIXEL == pytest.approx(2 * 30.4, abs=0.1)


def test_cross_sections_of_a_sphere_shrink_and_of_a_barrel_do_not() -> None:
    sphere = Blob(1.0, (0, 0, 5.0), (40.0, 40.0, 40.0))
    assert painted(sphere, z=29.0).sum() * PIXEL**2 == pytest.approx(math.pi * (40**2 - 24**2), rel=5e-3)
    assert painted(sphere, z=45.1).max() == 0.0
    assert replace(sphere, taper=8.0).scale(29.0) > 0.99
    assert replace(sphere, radii=(40.0, 40.0, math.inf)).scale(1e6) == 1.0


def test_drift_moves_the_cross_section() -> None:
    image = painted(Blob(1.0, (0, 0, 10.0), (20.0, 20.0, math.inf), drift=(0.5, -1.0)), z=30.0)
    assert centroid(image) == pytest.approx((10.0, -20.0), abs=0.05)


def test_ripples_bulge_where_their_phase_says() -> None:
    blob = Blob(1.0, (0, 0, 0), (30.0, 30.0, math.inf), ripples=(Ripple(3, 0.2, 0.0, math.pi / 10),))
    row = painted(blob)[64]
    assert row[64:].sum() * PIXEL == pytest.approx(36.0, abs=1.0)  # half a pixel of the middle
    assert row[:64].sum() * PIXEL == pytest.approx(24.0, abs=1.0)
    turned = painted(blob, z=10.0)[64]
    assert turned[64:].sum() * PIXEL == pytest.approx(24.0, abs=1.0)


def test_later_blobs_hide_earlier_ones_and_stay_inside_their_region() -> None:
    region = Blob(100.0, (-30, 0, 0), (20.0, 20.0, 30.0), named="here")
    second = Blob(100.0, (30, 0, 0), (20.0, 20.0, 30.0), named="here")
    content = Blob(-50.0, (0, 0, 0), (60.0, 5.0, 30.0), inside="here")
    image = painted(region, second, content)
    assert image[64, 64 - 20] == -50.0
    assert image[64, 64 + 20] == -50.0
    assert image[64, 64] == 0.0
    assert painted(content).any() == np.False_


def test_gas_lies_above_its_level() -> None:
    image = painted(Blob(1.0, (0, 12.0, 0), (40.0, 40.0, 30.0), level=-6.0))
    assert image[ALONG > 7.6].max() == 0.0
    assert image[np.flatnonzero(ALONG < 4.0)[-1], 64] == 1.0


def test_a_wall_leaves_a_smaller_content_of_no_region() -> None:
    content = Blob(1.0, (0, 0, 0), (10.0, 2.0, math.inf), named="wall", inside="body").shrunk(3.0, 5.0)
    assert content == Blob(5.0, (0, 0, 0), (7.0, 0.1, math.inf), inside="body")


def test_blobs_outside_the_slice_change_nothing() -> None:
    assert not painted(Blob(1.0, (500.0, 0, 0), (10.0, 10.0, 10.0))).any()


def test_grain_is_blended_like_density_and_fluid_has_none() -> None:
    canvas = Canvas(ALONG, 0.0, 0.0)
    tissue = Blob(50.0, (0, 0, 0), (40.2, 40.2, 30.0), grain=Grain(1.0, 2.0, 3.0, 4.0))
    canvas.paint(tissue)
    for plane, level in zip(canvas.grain, tissue.grain, strict=True):
        assert np.allclose(plane * 50, canvas.hu * level, atol=1e-3)
    canvas.paint(tissue.shrunk(20, 10.0))
    assert canvas.grain[:, 64, 64].tolist() == list(SMOOTH)


def test_reach_is_that_of_the_farthest_point() -> None:
    assert Blob(1.0, (30.0, 0, 0), (20.0, 5.0, math.inf)).reach() == pytest.approx(50)
    assert Blob(1.0, (0, 30.0, 0), (20.0, 5.0, math.inf), math.pi / 2).reach() == pytest.approx(50, rel=1e-3)
    assert Blob(1.0, (0, 0, 0), (10.0, 10.0, math.inf), ripples=(Ripple(3, 0.1, 0.0),)).reach() == pytest.approx(11)
