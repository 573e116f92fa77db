"""The planted defects that inserted lesions must find, and figures in closed form."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from noisy_slices import body, noise, pairs
from scipy import ndimage

from ctcycle.evaluation.inserted.bench import MEASURES, InsertionStudy, lesion_name
from ctcycle.evaluation.inserted.noise import flat_noise, full_domain_noise
from ctcycle.evaluation.inserted.responses import blurred
from ctcycle.evaluation.inserted.sites import (
    InsertionSettings,
    SiteChoice,
    kernel_sigma_mm,
    scan_sigma_mm,
)
from ctcycle.evaluation.methods.filters import nlm
from ctcycle.evaluation.pairs import HUPair
from ctcycle.metrics.lesions.insertion import LESIONS, Lesion, gaussian_transfer, lesion_responses, make_stamp
from ctcycle.metrics.spectral.nps import noise_power

PAIRS = pairs(1, 2)
SETTINGS = InsertionSettings(slices=2, sites=3)


def result(denoise, given=PAIRS, full=None):
    study = InsertionStudy("method", denoise, SETTINGS, full)
    for pair in given:
        study.add(pair, denoise(pair.low_hu))
    return study.result()


def figures(denoise, given=PAIRS, full=None):
    return {finding.measure: finding.value for finding in result(denoise, given, full).findings}


def test_identity_keeps_everything():
    found = figures(lambda hu: hu)
    for key, value in found.items():
        if key.startswith(("contrast_kept", "volume_kept", "width_ratio")):
            assert value == pytest.approx(1, abs=1e-3), key
        if key.startswith("contrast_spread"):
            assert value == pytest.approx(0, abs=1e-3), key
    assert found["noise_removed"] == 0


def test_a_fraction_of_the_contrast_is_measured_as_such():
    found = figures(lambda hu: (50 + 0.6 * (hu - 50)).astype(np.float32))
    assert found["contrast_kept_3mm_20hu"] == pytest.approx(0.6, abs=1e-3)
    assert found["volume_kept_1p5mm_10hu"] == pytest.approx(0.6, abs=1e-3)
    assert found["noise_removed"] == pytest.approx(0.4, abs=1e-3)


def test_a_blur_of_one_pixel_is_found_by_small_lesions_and_keeps_their_volume():
    found = figures(lambda hu: ndimage.gaussian_filter(hu, 1.0))
    assert found["contrast_kept_1p5mm_20hu"] < 0.9
    assert found["width_ratio_1p5mm_20hu"] > 1.05
    assert found["contrast_kept_5mm_20hu"] > 0.97
    assert found["volume_kept_1p5mm_20hu"] == pytest.approx(1, abs=0.01)


def test_erased_small_lesions_are_found_and_large_ones_are_kept():
    rows, columns = np.mgrid[-4:5, -4:5]
    disc = np.hypot(rows, columns) <= 4
    still = [
        HUPair(
            p.patient,
            p.series,
            p.slice_index,
            (body() + noise(np.random.default_rng(0), 2.0)[0]).astype(np.float32),
            p.full_hu,
            spacing_mm=p.spacing_mm,
        )
        for p in PAIRS
    ]
    found = figures(lambda hu: ndimage.median_filter(hu, footprint=disc), still)
    assert found["contrast_kept_1p5mm_40hu"] < 0.5
    assert found["contrast_kept_5mm_40hu"] > 0.9


@pytest.mark.parametrize("denoise", [nlm, lambda hu: ndimage.gaussian_filter(hu, 2.0)])
def test_sharing_a_pass_changes_the_response_by_less_than_a_percent(denoise):
    """A small faint lesion, between large ones of the highest contrast and of either sign."""
    low = PAIRS[0].low_hu.astype(np.float64)
    lesions = [Lesion(5.0, 40.0), Lesion(1.5, -20.0), Lesion(5.0, -40.0)]
    stamps = [make_stamp(lesion, 0.7, gaussian_transfer(0.5)) for lesion in lesions]
    choice = SiteChoice(SETTINGS)
    choice.add(PAIRS[0], PAIRS[0].low_hu)
    sites = choice.kept[0].sites

    def on_hu(hu):
        return denoise(hu.astype(np.float32))

    assert len(sites) == len(lesions)
    shared = lesion_responses(on_hu, low, sites, stamps)
    for site, stamp, response in zip(sites, stamps, shared, strict=True):
        (alone,) = lesion_responses(on_hu, low, [site], stamp)
        assert response[stamp.core].mean() == pytest.approx(
            alone[stamp.core].mean(), abs=0.01 * abs(stamp.image_hu[stamp.core].mean())
        )


def one_at_a_time(denoise, given, settings):
    """The contrast kept at all sites, by name of lesion, each lesion alone in its slice."""
    choice = SiteChoice(settings)
    for pair in given:
        choice.add(pair, denoise(pair.low_hu))
    noise = flat_noise((item.pair.low_hu, item.pair.low_hu, 0.7) for item in choice.kept)
    found = {}
    for item, lesion in product(choice.kept, LESIONS):
        stamp = blurred(lesion, 0.7, round(scan_sigma_mm(noise), 2), item.window_px)
        for site in item.sites:
            (response,) = lesion_responses(
                lambda hu: denoise(hu.astype(np.float32)), item.pair.low_hu, [site], stamp, item.output_hu
            )
            kept = response[stamp.core].mean() / stamp.image_hu[stamp.core].mean()
            found.setdefault(lesion_name(lesion), []).append(kept)
    return found


def shrink(hu):
    """Keep what stands out from its surroundings, and little of the rest: fainter lesions lose more."""
    detail = hu - ndimage.gaussian_filter(hu, 2)
    return hu - 0.7 * np.clip(detail, -20, 20)


def test_many_lesions_a_pass_keep_the_contrast_of_one_at_a_time_within_its_standard_error():
    given, settings, calls = pairs(3, 2), replace(SETTINGS, slices=6, responses=8), []

    def counted(hu):
        calls.append(1)
        return shrink(hu)

    study = InsertionStudy("method", counted, settings)
    for pair in given:
        study.add(pair, shrink(pair.low_hu))
    shared = {finding.measure: finding.value for finding in study.result().findings}
    assert len(calls) == 6 * 9 + 1  # 18 sites: 9 passes give 8 responses to each of 19 lesions; and a picture
    off = []
    for name, alone in one_at_a_time(shrink, given, settings).items():
        error = np.std(alone, ddof=1) / np.sqrt(8 if name == "dot" else 16)
        off.append((shared[f"contrast_kept_{name}"] - np.mean(alone)) / error)
    assert len(off) == 10
    assert max(map(abs, off)) < 2
    assert np.sqrt(np.mean(np.square(off))) < 1


@pytest.mark.parametrize("sigma_mm", [0.35, 0.5, 0.7])
def test_the_kernels_blur_is_found_in_the_noise_that_it_shapes(sigma_mm):
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256, 0.7), np.fft.fftfreq(256, 0.7)))
    shape = np.sqrt(frequency) * np.exp(-2 * (np.pi * sigma_mm * frequency) ** 2)
    white = np.random.default_rng(2).normal(size=(4, 256, 256))
    image = np.fft.ifft2(np.fft.fft2(white) * shape).real
    regions = image.reshape(4, 8, 32, 8, 32).swapaxes(2, 3).reshape(-1, 32, 32)
    assert kernel_sigma_mm(noise_power(regions, 0.7)) == pytest.approx(sigma_mm, rel=0.08)


def test_white_noise_has_no_blur_to_find():
    white = np.random.default_rng(2).normal(size=(200, 32, 32))
    assert kernel_sigma_mm(noise_power(white, 0.7)) < 0.3


def test_full_dose_of_others_gives_texture_and_penalty():
    full = full_domain_noise((pair.full_hu, 0.7) for pair in PAIRS)
    found = figures(lambda hu: hu, full=full)
    assert found["texture_distance"] < 0.12
    assert found["truth_free_penalty"] > 1
    assert figures(lambda hu: hu)["truth_free_penalty"] is None


def test_every_measure_is_reported_and_a_missing_one_says_why():
    found = result(lambda hu: hu).findings
    assert {finding.measure for finding in found} == {measure.key for measure in MEASURES}
    assert all(finding.note for finding in found if finding.value is None)
    air = HUPair("P", "1.2", 0, np.full((64, 64), -1000, np.float32), np.zeros((64, 64), np.float32))
    nothing = result(lambda hu: hu, [air])
    assert all(finding.value is None and finding.note for finding in nothing.findings)


def test_slices_are_spread_over_the_patients_and_the_same_for_every_method():
    given = [*pairs(3, 1), PAIRS[1]]

    def chosen():
        choice = SiteChoice(SETTINGS)
        for pair in given:
            choice.add(pair, pair.low_hu)
        return [(item.pair.patient, item.pair.slice_index) for item in choice.kept]

    assert chosen() == chosen()
    assert {patient for patient, _ in chosen()} == {"P0", "P1"}
