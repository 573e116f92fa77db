"""Verdicts: every planted defect is named, marks follow the printed rules, and doing nothing is no merit."""

import pytest
from evaluated import BLURRED, DOING_NOTHING, findings, full_dose

from ctcycle.evaluation.findings import Curve, Finding
from ctcycle.evaluation.verdict.merit import verdicts
from ctcycle.evaluation.verdict.rules import Mark, marked, rule_for


def said(**changes: float | None) -> str:
    (verdict,) = verdicts(["net"], [*findings("net", **changes), full_dose()])
    return " ".join(verdict.sentences)


CONSTANT = {
    **dict.fromkeys(("slope", "contrast_kept_3mm_20hu", "contrast_kept_1p5mm_40hu", "d_prime_ratio_3mm"), 0.0),
    "noise_removed": 1.0,
    "error_over_floor": 20.0,
    "texture_distance": None,
    "mean_frequency": None,
    "resolution_minus100_f50_ratio": None,
    "bias_soft_beyond_input_hu": -500.0,
    "disagreeing_patches": 1.0,
}
"""The output of a collapsed model."""

DEFECTS = {
    "blur": ({"resolution_minus100_f50_ratio": 0.85}, "Blurs: at edges of -100 HU it keeps 85 % of the resolution"),
    "3 HU": ({"bias_soft_beyond_input_hu": 3.0}, "HU in soft tissue are 3.0 HU too high, beyond the input's own"),
    "gain": ({"slope": 1.02}, "HU are scaled by 1.020"),
    "erased": ({"contrast_kept_1p5mm_40hu": 0.31}, "Loses small or faint lesions: of a 1.5 mm, 40 HU lesion, 31 %"),
    "erased, observer": ({"d_prime_ratio_3mm": 0.64}, "Makes a 3 mm lesion harder to detect: 64 %"),
    "invented": ({"false_structures_ratio": 3.1}, "Invents structures: 3.1 times"),
    "patches": ({"disagreeing_patches": 0.09}, "Invents or erases structures: 9 % of the patches"),
    "texture": ({"texture_distance": 0.2, "mean_frequency": 0.19}, "coarser than full dose (mean frequency 0.19"),
    "same mean": ({"texture_distance": 0.2, "mean_frequency": 0.26}, "texture differs from full dose (distance 0.20"),
    "fine noise": ({"fine_power_ratio": 2.3}, "Leaves fine noise: 2.3 times"),
    "fine error": ({"error_over_floor_fine": 1.8}, "Its error in fine detail is 1.8 times"),
    "shuffled": ({"between_slices": 1.1, "between_slices_full": 0.8}, "slices may even be out of order"),
}


@pytest.mark.parametrize(("changes", "sentence"), DEFECTS.values(), ids=DEFECTS)
def test_every_planted_defect_is_named_and_marked(changes: dict[str, float], sentence: str) -> None:
    assert sentence in said(**changes)
    assert sentence not in said()
    (bad,) = verdicts(["net"], findings("net", **changes))
    assert Mark.BAD in bad.answers.values()


def test_a_good_denoiser_is_described_in_plain_sentences() -> None:
    assert said().startswith("Removes 54 % of the noise. Keeps 95 % of the contrast of a 3 mm, 20 HU lesion.")
    assert "HU are right within 0.8 HU" in said()
    assert "Its texture is that of full dose" in said()
    (verdict,) = verdicts(["net"], findings("net"))
    assert set(verdict.answers.values()) == {Mark.GOOD}
    assert verdict.merit == pytest.approx(1.0)


def test_a_filter_that_removes_nothing_keeps_everything_without_merit() -> None:
    every = [*findings("input", **DOING_NOTHING), *findings("nlm", **BLURRED), *findings("net")]
    every += findings("constant", **CONSTANT)
    order = verdicts(["input", "constant", "nlm", "net"], every)
    assert order[0].method == "net"
    assert order[-1].method == "constant"
    doing_nothing = next(item for item in order if item.method == "input")
    assert doing_nothing.does_little
    assert doing_nothing.merit == 0
    assert "Removes almost none of the noise (0 %)" in doing_nothing.sentences[0]


def test_what_is_missing_is_not_mentioned() -> None:
    assert "3 mm, 20 HU" not in said(contrast_kept_3mm_20hu=None)
    (silent,) = verdicts(["net"], [Finding("net", "pairs", "slope", None, note="no bone")])
    assert (silent.sentences, silent.merit) == ((), None)


def test_an_interval_from_good_to_bad_is_neutral() -> None:
    ends = [(0.96, 1.0), (0.8, 1.1), (0.52, 0.86)]
    found = marked(Finding("net", "physics", "d_prime_ratio_3mm", sum(e) / 2, *e) for e in ends)
    assert [item.mark for item in found] == [Mark.GOOD, Mark.NEUTRAL, Mark.BAD]


@pytest.mark.parametrize(
    ("measure", "value", "mark"),
    [
        *(("error_over_floor", 1.05, Mark.GOOD), ("error_over_floor", 1.1, Mark.NEUTRAL)),
        *(("texture_distance", 0.1, Mark.GOOD), ("texture_distance", 0.11, Mark.BAD)),
        *(("contrast_kept_dot", 0.79, Mark.BAD), ("contrast_kept_3mm_20hu", 0.85, Mark.NEUTRAL)),
        *(("bias_lung_beyond_input_hu", -1.5, Mark.NEUTRAL), ("bias_lung_beyond_input_hu", -2.5, Mark.BAD)),
        *(("slope", 1.02, Mark.BAD), ("slope", 0.98, Mark.BAD), ("false_structures_ratio", 2.1, Mark.BAD)),
    ],
)
def test_limits(measure: str, value: float, mark: Mark) -> None:
    rule = rule_for(measure)
    assert rule is not None
    assert rule.of_value(value) is mark
    assert f"{rule.good:g}" in rule.text()


def test_the_mean_frequency_of_full_dose_comes_from_its_spectrum() -> None:
    own = [item for item in findings("net", texture_distance=0.3) if item.measure != "mean_frequency"]
    narrow = Curve("net", "pairs", "nps", "", (0.1, 0.2), (1.0, 0.0))
    wide = Curve("full dose", "pairs", "nps", "", (0.1, 0.2, 0.3), (0.0, 0.0, 2.0))
    (verdict,) = verdicts(["net"], own, [narrow, wide])
    assert "coarser than full dose (mean frequency 0.10 against 0.30 cycles/px)" in " ".join(verdict.sentences)


def test_noise_of_the_physics_bench_is_compared_with_the_input() -> None:
    noise = [Finding("input", "physics", "noise_hu", 40.0), Finding("net", "physics", "noise_hu", 10.0)]
    (verdict,) = verdicts(["net"], noise)
    assert verdict.sentences == ("Removes 75 % of the noise.",)


def test_the_gain_beyond_the_input_decides_where_it_is_known() -> None:
    own = findings("net", slope=0.98)
    (verdict,) = verdicts(["net"], [*own, Finding("net", "pairs", "slope_beyond_input", 0.001)])
    assert "scaled" not in " ".join(verdict.sentences)


CORRECTED = [
    *(("bias_lung_hu", 0.4, None), ("bias_lung_beyond_input_hu", -6.0, Mark.GOOD)),  # the input was off by 6.4 HU
    *(("bias_bone_hu", -7.6, None), ("bias_bone_beyond_input_hu", -0.7, Mark.GOOD)),
    *(("bias_soft_hu", 3.1, None), ("bias_soft_beyond_input_hu", 2.9, Mark.BAD)),
    *(("bias_fat_hu", 1.5, None), ("bias_fat_beyond_input_hu", 4.0, Mark.NEUTRAL)),
]


def test_a_corrected_error_of_the_input_is_neither_marked_nor_told_as_a_fault() -> None:
    own = [Finding("net", "pairs", measure, value) for measure, value, _ in CORRECTED]
    marks = {item.finding.measure: item.mark for item in marked(own)}
    assert marks == {measure: mark for measure, _, mark in CORRECTED if mark}
    good = [finding for finding in own if "lung" in finding.measure or "bone" in finding.measure]
    (verdict,) = verdicts(["net"], good)
    assert verdict.answers == {"HU": Mark.GOOD}
    assert "too" not in " ".join(verdict.sentences)


def test_the_error_of_another_bench_or_method_excuses_nothing() -> None:
    own = [
        Finding("net", "pairs", "bias_lung_beyond_input_hu", -6.0),
        Finding("net", "physics", "bias_lung_hu", 0.0),
        Finding("nlm", "pairs", "bias_lung_hu", 0.0),
    ]
    assert [item.mark for item in marked(own)] == [Mark.BAD]


@pytest.mark.parametrize(("low", "high"), [(-0.004, 0.004), (-0.0, 0.0)])
def test_no_share_is_a_negative_nothing(low: float, high: float) -> None:
    kept = Finding("net", "pairs", "contrast_kept_3mm_20hu", low, low, high)
    (verdict,) = verdicts(["net"], [kept])
    assert "Keeps 0 % of the contrast of a 3 mm, 20 HU lesion (95 %: 0 to 0 %)." in verdict.sentences
