"""The insertion response of filters whose response is known in closed form, and of a denoiser that erases lesions."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import disk

from ctcycle.metrics.lesions.insertion import (
    LESIONS,
    Lesion,
    gaussian_transfer,
    insertion_response,
    lesion_responses,
    make_stamp,
)

SITES = [(row, column) for row in (0, 40, 96) for column in (5, 60)]
SPACING = 0.7


@pytest.fixture
def slice_hu():
    return np.random.default_rng(1).normal(60, 15, (128, 128))


def gaussian(sigma):
    return lambda hu: ndimage.gaussian_filter(hu, sigma, mode="reflect", truncate=8)


def respond(denoise, hu, stamp):
    return insertion_response(lesion_responses(denoise, hu, SITES, stamp), stamp)


def test_the_bench_inserts_nineteen_lesions():
    assert len(set(LESIONS)) == 3 * 6 + 1


@pytest.mark.parametrize("lesion", [*LESIONS[::5], LESIONS[-1]])
def test_identity_passes_everything(lesion, slice_hu):
    found = respond(lambda hu: hu, slice_hu, make_stamp(lesion, SPACING, gaussian_transfer(0.5)))
    assert found.sites == 6
    for share in (found.contrast_recovered, found.contrast_p5, found.contrast_p95, found.volume_recovered):
        assert share == pytest.approx(1, abs=1e-6)
    assert found.fwhm_mm == pytest.approx(found.inserted_fwhm_mm, abs=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.8])
def test_the_response_is_linear_in_the_strength(strength, slice_hu):
    stamp = make_stamp(Lesion(3, -20), SPACING, gaussian_transfer(0.5))
    blur = gaussian(2.0)
    mixed = respond(lambda hu: (1 - strength) * hu + strength * blur(hu), slice_hu, stamp)
    full = respond(blur, slice_hu, stamp)
    expected = 1 - strength * (1 - full.contrast_recovered)
    assert mixed.contrast_recovered == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("radius_mm", [1.5, 3.0, 5.0])
@pytest.mark.parametrize("sigma_px", [1.0, 2.0])
def test_the_centre_of_a_blurred_disc_in_closed_form(radius_mm, sigma_px, slice_hu):
    stamp = make_stamp(Lesion(radius_mm, 40), SPACING, gaussian_transfer(0.7))
    centre = lesion_responses(gaussian(sigma_px), slice_hu, SITES, stamp)[:, 16, 16]
    blur_mm2 = 0.7**2 + (sigma_px * SPACING) ** 2
    assert centre / 40 == pytest.approx(1 - np.exp(-(radius_mm**2) / (2 * blur_mm2)), abs=2e-3)
    assert stamp.image_hu[16, 16] / 40 == pytest.approx(1 - np.exp(-(radius_mm**2) / (2 * 0.7**2)), abs=2e-3)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.5), (-0.3, 0.4)])
def test_volume_and_core_do_not_depend_on_the_place_within_a_pixel(offset):
    stamp = make_stamp(Lesion(3, 20), SPACING, gaussian_transfer(0.6), offset_px=offset)
    assert stamp.image_hu.sum() * SPACING**2 == pytest.approx(20 * np.pi * 3**2, rel=1e-3)
    centroid = ndimage.center_of_mass(stamp.image_hu)
    assert centroid == pytest.approx((16 + offset[0], 16 + offset[1]), abs=1e-3)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.5, 0.5), (-0.3, 0.4)])
def test_the_width_of_a_blurred_dot_in_closed_form(offset, slice_hu):
    stamp = make_stamp(Lesion(0.4, 300), SPACING, gaussian_transfer(1.0), offset_px=offset)
    width = 2 * np.sqrt(2 * np.log(2))
    dot_mm2 = 0.4**2 / 4  # a disc's variance along one axis
    found = respond(gaussian(1.5), slice_hu, stamp)
    assert found.inserted_fwhm_mm == pytest.approx(width * np.sqrt(1 + dot_mm2), rel=5e-3)
    assert found.fwhm_mm == pytest.approx(width * np.sqrt(1 + dot_mm2 + (1.5 * SPACING) ** 2), rel=5e-3)


def test_a_wide_disc_is_as_wide_as_its_diameter():
    stamp = make_stamp(Lesion(5, -20), SPACING, gaussian_transfer(0.5))
    found = insertion_response(stamp.image_hu[np.newaxis], stamp)
    assert found.fwhm_mm == pytest.approx(10, rel=0.01)


def test_a_transfer_function_takes_the_place_of_the_gaussian():
    lesion, frequency = Lesion(3, 20), np.linspace(0, 20, 4001)
    table = gaussian_transfer(0.6)(frequency)
    found = make_stamp(lesion, SPACING, lambda f: np.interp(f, frequency, table))
    assert found.image_hu == pytest.approx(make_stamp(lesion, SPACING, gaussian_transfer(0.6)).image_hu, abs=1e-3)


def test_the_spread_over_sites_is_that_of_the_sites():
    stamp = make_stamp(Lesion(3, 20), SPACING, gaussian_transfer(0.6))
    strengths = np.linspace(0.5, 1.5, 101)
    found = insertion_response(strengths[:, np.newaxis, np.newaxis] * stamp.image_hu, stamp)
    assert found.contrast_recovered == pytest.approx(1)
    assert (found.contrast_p5, found.contrast_p95) == pytest.approx((0.55, 1.45))


def test_a_known_output_saves_a_call(slice_hu):
    calls = []
    stamp = make_stamp(Lesion(3, 20), SPACING, gaussian_transfer(0.6))
    blur = gaussian(1.0)

    def counted(hu):
        calls.append(1)
        return blur(hu)

    found = lesion_responses(counted, slice_hu, SITES, stamp, blur(slice_hu))
    assert len(calls) == 1
    assert np.array_equal(found, lesion_responses(blur, slice_hu, SITES, stamp))


def test_the_slice_is_left_as_it_is(slice_hu):
    before = slice_hu.copy()
    lesion_responses(lambda hu: hu, slice_hu, SITES, make_stamp(Lesion(3, 20), SPACING, gaussian_transfer(0.6)))
    assert np.array_equal(slice_hu, before)


def test_a_blur_of_one_pixel_is_caught(slice_hu):
    stamp = make_stamp(Lesion(1.5, -40), SPACING, gaussian_transfer(0.5))
    assert respond(gaussian(1.0), slice_hu, stamp).contrast_recovered < 0.9


def eraser(noisy, radius_px):
    """A denoiser that knows its input's noise, and erases what is no wider than a disc of ``radius_px``."""
    footprint = disk(radius_px)

    def denoise(hu):
        added = hu - noisy
        opened = ndimage.grey_opening(np.maximum(added, 0), footprint=footprint)
        return noisy + opened - ndimage.grey_opening(np.maximum(-added, 0), footprint=footprint)

    return denoise


@pytest.mark.parametrize("contrast_hu", [-40.0, 20.0])
def test_erased_small_lesions_are_caught(contrast_hu, slice_hu):
    denoise = eraser(slice_hu, 3)  # 2.1 mm
    found = {}
    for radius_mm in (1.5, 2.0, 5.0):
        stamp = make_stamp(Lesion(radius_mm, contrast_hu), SPACING, gaussian_transfer(0.5))
        found[radius_mm] = respond(denoise, slice_hu, stamp)
    assert found[1.5].contrast_recovered < 0.5
    assert found[2.0].contrast_recovered < 0.8
    assert found[5.0].contrast_recovered > 0.98
    assert found[1.5].volume_recovered < found[5.0].volume_recovered


def test_an_erased_lesion_has_no_width():
    stamp = make_stamp(Lesion(3, 20), SPACING, gaussian_transfer(0.6))
    found = insertion_response(np.zeros((4, 32, 32)), stamp)
    assert np.isnan(found.fwhm_mm)
    assert found.contrast_recovered == 0


def test_what_cannot_be_inserted_is_refused(slice_hu):
    transfer = gaussian_transfer(0.6)
    with pytest.raises(ValueError, match="use a wider window"):
        make_stamp(Lesion(12, 20), SPACING, transfer)
    stamp = make_stamp(Lesion(3, 20), SPACING, transfer)
    with pytest.raises(ValueError, match="leaves the slice"):
        lesion_responses(lambda hu: hu, slice_hu, [(100, 0)], stamp)
    with pytest.raises(ValueError, match="overlaps another"):
        lesion_responses(lambda hu: hu, slice_hu, [(0, 0), (31, 31)], stamp)
    with pytest.raises(ValueError, match="no site"):
        insertion_response(lesion_responses(lambda hu: hu, slice_hu, [], stamp), stamp)
