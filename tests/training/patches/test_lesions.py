import math

import numpy as np
import pytest
from scipy import ndimage

from ctcycle.config.training import Lesions
from ctcycle.training.patches.lesions import CLASSES, TISSUE_HU, LesionDraw, Shape, is_coarse

SIZE = (64, 64)
CENTRE = (31.0, 33.0)


def blurred_disc(radius: float, sigma: float, finer: int = 8) -> float:
    """The peak of a disc, sampled finely and blurred by scipy."""
    half = int((radius + 5 * sigma) * finer)
    rows, columns = np.ogrid[-half : half + 1, -half : half + 1]
    disc = (np.hypot(rows, columns) <= radius * finer).astype(float)
    return float(ndimage.gaussian_filter(disc, sigma * finer, truncate=6)[half, half])


@pytest.mark.parametrize(("radius", "edge"), [(1.0, 1.0), (2.5, 0.7), (8.0, 1.1)])
def test_the_peak_of_a_disc_is_that_of_a_blurred_disc(radius: float, edge: float) -> None:
    image = Shape(CENTRE, radius, -20.0, edge).image_hu(SIZE)
    assert image.min() == image[31, 33] == pytest.approx(-20.0 * blurred_disc(radius, edge), rel=0.02)
    assert abs(image[0, 0]) < 1e-6


def test_a_disc_falls_to_half_at_its_radius_and_sums_to_its_area() -> None:
    image = Shape(CENTRE, 9.0, 40.0, 0.8).image_hu(SIZE)
    assert image[31, 33 + 9] == pytest.approx(20.0, rel=0.01)
    assert image.sum() == pytest.approx(40.0 * math.pi * 81, rel=0.02)


def test_a_tube_is_as_long_as_said_and_runs_along_its_angle() -> None:
    image = Shape(CENTRE, 1.5, 30.0, 0.6, length_px=20.0, angle=math.pi / 2).image_hu(SIZE)
    across, along = image[31] > 15, image[:, 33] > 15
    assert across.sum() == 3
    assert along.sum() == pytest.approx(20 + 3, abs=1)
    assert image[31, 33] == pytest.approx(30 * math.erf(1.5 / (0.6 * math.sqrt(2))), rel=0.01)


def test_a_template_finds_the_contrast_and_ignores_a_level() -> None:
    shape = Shape(CENTRE, 6.0, -25.0, 0.7)
    template = shape.template(SIZE)
    assert template is not None
    assert template.sum() == pytest.approx(0.0, abs=1e-5)
    assert (template * (shape.image_hu(SIZE) + 500)).sum() == pytest.approx(25.0, rel=0.01)


def test_a_lesion_whose_ring_lies_outside_is_not_measured() -> None:
    assert Shape((4.0, 4.0), 30.0, 10.0, 0.7).template((8, 8)) is None


def noise(level: float, blur_px: float = 0.0, seed: int = 5) -> np.ndarray:
    """White noise of this level; blurred, it is coarse, and without what a blur keeps, it is fine."""
    drawn = np.random.default_rng(seed).normal(size=SIZE)
    drawn = (
        ndimage.gaussian_filter(drawn, blur_px) if blur_px >= 0 else drawn - ndimage.gaussian_filter(drawn, -blur_px)
    )
    return (level * drawn / drawn.std()).astype(np.float32)


def draw(
    seed: int = 0, noise_hu: float = 20.0, level: float = 40.0, blur_px: float = -1.0, **settings: object
) -> np.ndarray:
    tissue = np.full(SIZE, level, np.float32)
    lesions = LesionDraw(Lesions.model_validate(settings))
    return lesions.draw(tissue, noise(noise_hu, blur_px), 0.75, np.random.default_rng(seed))


@pytest.mark.parametrize(("blur_px", "coarse"), [(-2.0, False), (-1.0, False), (0.7, True), (1.5, True)])
def test_noise_is_coarse_where_its_low_frequencies_exceed_white_noise(blur_px: float, coarse: bool) -> None:
    assert all(is_coarse(noise(30.0, blur_px, seed)) == coarse for seed in range(10))


def test_a_draw_depends_on_its_generator_alone() -> None:
    assert np.array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))


def test_lesions_lie_in_tissue_only() -> None:
    assert not any(draw(seed, level=TISSUE_HU - 1).any() for seed in range(20))
    assert any(draw(seed).any() for seed in range(5))


def test_contrasts_have_both_signs_and_stay_in_their_range() -> None:
    peaks = [draw(seed, most=1, contrast_hu=(10.0, 30.0), vessels=0.0)[0] for seed in range(200)]
    highest, lowest = max(image.max() for image in peaks), min(image.min() for image in peaks)
    assert 20 < highest <= 30
    assert -30 <= lowest < -20


@pytest.mark.parametrize("blur_px", [-1.0, 1.0])
@pytest.mark.parametrize(("noise_hu", "number"), [(300.0, None), (50.0, 1), (20.0, 2), (6.0, 3)])
def test_a_lesion_counts_in_the_class_of_its_visibility(noise_hu: float, number: int | None, blur_px: float) -> None:
    # radius 4 px, contrast 10 HU: 40 over the noise
    options = {"most": 1, "radius_mm": (3.0, 3.0), "contrast_hu": (10.0, 10.0), "edge_px": (0.5, 0.5), "vessels": 0.0}
    drawn = [draw(seed, noise_hu, blur_px=blur_px, **options) for seed in range(10)]
    assert {int(n) for image in drawn for n in range(1, 1 + CLASSES) if image[n].any()} == (
        set() if number is None else {number + 3 * (blur_px > 0)}
    )
    measured = [(image[1:] * image[0]).sum() for image in drawn if image[1:].any()]
    assert measured == pytest.approx([10.0] * len(measured), rel=0.01)


def test_tubes_are_added_and_not_measured() -> None:
    drawn = [draw(seed, vessels=1.0) for seed in range(20)]
    assert any(image[0].any() for image in drawn)
    assert not any(image[1:].any() for image in drawn)
