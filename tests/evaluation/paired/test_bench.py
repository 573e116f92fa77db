"""The planted defects that comparing with full dose must find, and figures in closed form."""

import numpy as np
import pytest
from noisy_slices import ADDED_HU, FULL_HU, body, noise, pairs
from scipy import ndimage

from ctcycle.errors import SeriesError
from ctcycle.evaluation.paired.bench import MEASURES, PairStudy
from ctcycle.evaluation.paired.reference import PairReferences
from ctcycle.evaluation.pairs import HUPair

PAIRS = pairs()


def study(change, given=None):
    found = PairStudy("method")
    for pair in given or PAIRS:
        found.add(pair, np.asarray(change(pair), dtype=np.float32))
    return found


def figures(change, given=None):
    return {finding.measure: finding.value for finding in study(change, given).result().findings}


@pytest.fixture(scope="module")
def untouched():
    return figures(lambda pair: pair.low_hu)


def test_the_input_is_what_it_is(untouched):
    low = np.hypot(FULL_HU, ADDED_HU)
    assert untouched["floor_hu"] == pytest.approx(FULL_HU * ADDED_HU / low, rel=0.05)
    assert untouched["error_over_floor"] == pytest.approx(low / FULL_HU, rel=0.05)
    assert untouched["noise_over_full"] == pytest.approx(low / FULL_HU, rel=0.04)
    assert untouched["noise_removed"] == 0
    assert untouched["texture_distance"] < 0.06
    assert untouched["bias_soft_beyond_input_hu"] == 0 == untouched["slope_beyond_input"]
    assert untouched["between_slices"] == pytest.approx(1, abs=0.1)


def test_the_best_linear_filter_reaches_the_floor():
    share = FULL_HU**2 / (FULL_HU**2 + ADDED_HU**2)
    found = figures(lambda pair: body() + share * (pair.low_hu - body()))
    assert found["error_over_floor"] == pytest.approx(1, abs=0.03)


def test_the_noise_removed_is_that_of_a_filter_that_scales():
    found = figures(lambda pair: 50 + 0.6 * (pair.low_hu - 50))
    assert found["noise_removed"] == pytest.approx(0.4, abs=1e-3)


def test_three_hu_in_soft_tissue_are_found_by_the_bias_alone(untouched):
    soft = (body() > 0) & (body() < 200)
    found = figures(lambda pair: pair.low_hu + 3 * soft)
    assert found["bias_soft_beyond_input_hu"] == pytest.approx(3, abs=0.1)
    for key in ("bias_fat_beyond_input_hu", "bias_lung_beyond_input_hu", "bias_bone_beyond_input_hu"):
        assert abs(found[key]) < 0.5
    for key in ("texture_distance", "noise_over_full", "error_over_floor", "between_slices"):
        assert found[key] == pytest.approx(untouched[key], abs=0.01)


def test_a_gain_of_two_percent_is_found_by_the_slope(untouched):
    found = figures(lambda pair: 1.02 * pair.low_hu)
    assert found["slope_beyond_input"] == pytest.approx(0.02, abs=0.001)
    assert found["texture_distance"] == pytest.approx(untouched["texture_distance"], abs=0.001)


def test_swapped_texture_is_found_by_the_texture_distance():
    rng = np.random.default_rng(9)
    found = figures(lambda _pair: body() + noise(rng, FULL_HU, blur_px=1.3)[0])
    assert found["texture_distance"] > 0.1
    assert found["noise_over_full"] == pytest.approx(1, abs=0.05)
    assert abs(found["bias_soft_hu"]) < 0.5
    assert found["between_slices"] == pytest.approx(1, abs=0.1)


def test_fine_noise_that_is_left_is_found_by_frequency():
    rng = np.random.default_rng(5)

    def left(pair):
        white = rng.normal(0, 15, pair.low_hu.shape)
        return pair.full_hu + white - ndimage.gaussian_filter(white, 0.8)

    found = figures(left)
    assert found["fine_power_ratio"] > 1.5
    assert found["error_over_floor_fine"] > 1.5
    assert found["error_over_floor"] < 1.5
    assert abs(found["bias_soft_hu"]) < 0.5


def test_full_dose_in_the_wrong_order_is_found_by_the_change_between_slices():
    rng = np.random.default_rng(3)
    along = ndimage.gaussian_filter1d(noise(rng, 1.0, slices=12), 1.2, axis=0, mode="wrap")
    full = (body() + along / along.std() * FULL_HU).astype(np.float32)
    low = full + noise(rng, ADDED_HU, slices=12).astype(np.float32)
    given = [HUPair("P", "1.2", index, low[index], full[index], spacing_mm=(0.7, 0.7)) for index in range(12)]
    order = [0, 6, 2, 9, 4, 11, 1, 7, 3, 10, 5, 8]
    right, wrong = figures(lambda pair: pair.full_hu, given), figures(lambda pair: full[order[pair.slice_index]], given)
    assert right["between_slices_ratio"] == pytest.approx(1)
    assert wrong["between_slices_ratio"] > 1.5
    assert wrong["noise_over_full"] == pytest.approx(right["noise_over_full"], abs=0.02)
    assert wrong["texture_distance"] < 0.02


def test_slices_of_two_series_are_no_neighbours():
    given = [PAIRS[0], PAIRS[4]]
    found = figures(lambda pair: pair.low_hu, given)
    assert found["between_slices"] is None


def test_an_invented_blob_is_among_the_worst_patches():
    blob = np.zeros(PAIRS[0].low_hu.shape)
    blob[105:112, 115:122] = 80.0
    pictures = study(lambda pair: pair.full_hu + blob * (pair is PAIRS[2]) + 0.1).result().pictures
    worst = next(picture for picture in pictures if picture.topic == "worst_patches")
    assert "slice 3," in worst.caption
    assert "P0" in worst.caption
    assert np.ptp(worst.images["output"] - worst.images["full dose"]) == pytest.approx(80, abs=1)


def test_intervals_need_five_patients_and_hold_the_value():
    few = study(lambda pair: pair.low_hu).result()
    assert few.notes
    assert all(finding.low is None for finding in few.findings)
    many = study(lambda pair: pair.low_hu, pairs(1, 5)).result()
    found = {finding.measure: finding for finding in many.findings}["error_over_floor"]
    assert not many.notes
    assert found.low < found.value < found.high


def test_each_measure_has_one_finding_and_a_missing_one_says_why():
    found = study(lambda pair: pair.low_hu).result().findings
    assert [finding.measure for finding in found] == [measure.key for measure in MEASURES]
    assert all(finding.note for finding in found if finding.value is None)
    air = np.full((64, 64), -1000, np.float32)
    empty = study(lambda pair: pair.low_hu, [HUPair("P", "1.2", 0, air, air)]).result().findings
    assert all(finding.note for finding in empty if finding.value is None)


def test_studies_share_what_depends_on_the_pair_alone():
    references = PairReferences()
    assert references.of(PAIRS[0]) is references.of(PAIRS[0])
    assert references.of(PAIRS[1]) is not references.of(PAIRS[0])


def test_an_output_that_cannot_be_compared_is_refused():
    with pytest.raises(SeriesError, match="shapes must be equal"):
        PairStudy("m").add(PAIRS[0], PAIRS[0].low_hu[:-1])
    with pytest.raises(SeriesError, match="not finite"):
        PairStudy("m").add(PAIRS[0], np.full_like(PAIRS[0].low_hu, np.nan))


def test_pairs_of_unknown_pixel_size_have_no_worst_patches_and_the_same_figures(untouched):
    given = [HUPair(p.patient, p.series, p.slice_index, p.low_hu, p.full_hu) for p in PAIRS]
    found = study(lambda pair: pair.low_hu, given).result()
    assert {picture.topic for picture in found.pictures} == {"worst_slices"}
    values = {finding.measure: finding.value for finding in found.findings}
    assert values["texture_distance"] == untouched["texture_distance"]
