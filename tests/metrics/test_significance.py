"""Paired comparisons against enumeration, closed forms and simulated error rates."""

import itertools
import re

import numpy as np
import pytest
from scipy import stats

from ctcycle.metrics.significance import contrast_note, holm, paired_contrast, patient_interval, sign_flip_p


def test_the_p_value_is_that_of_plain_enumeration():
    values = np.random.default_rng(3).normal(0.4, 1, 9)
    means = [abs(np.dot(signs, values)) for signs in itertools.product([-1, 1], repeat=9)]
    assert sign_flip_p(values) == np.mean(np.array(means) >= abs(values.sum()) * (1 - 1e-12))


@pytest.mark.parametrize("count", [6, 12])
def test_the_smallest_p_value_in_closed_form(count):
    assert sign_flip_p(np.full(count, 0.7)) == 2 / 2**count
    assert sign_flip_p(np.full(count, -1e-15)) == 2 / 2**count


def test_no_difference_at_all_has_p_one():
    assert sign_flip_p(np.zeros(8)) == 1.0


def test_random_patterns_replace_enumeration_for_many_patients():
    values = np.random.default_rng(0).normal(0.3, 1, 40)
    found = sign_flip_p(values)
    assert found == sign_flip_p(values)
    assert found == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)


def test_two_identical_methods_have_uniform_p_values():
    rng = np.random.default_rng(17)
    p_values = [sign_flip_p(rng.normal(0, 0.5, 12)) for _ in range(200)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.05
    assert np.mean(np.array(p_values) < 0.05) < 0.09


def test_power_for_a_third_of_a_decibel(capsys):
    rng = np.random.default_rng(5)
    power = np.mean([sign_flip_p(rng.normal(0.3, 0.5, 12)) < 0.05 for _ in range(1000)])
    with capsys.disabled():
        print(f"\nsign-flip test: 0.3 dB with SD 0.5 dB in 12 patients is found with power {power:.2f}")
    t_test = 1 - stats.nct(11, 0.3 / 0.5 * 12**0.5).cdf(stats.t.ppf(0.975, 11))
    assert power == pytest.approx(t_test, abs=0.05)


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        holm({"a": 1.2})


def test_holm_keeps_the_family_wise_error():
    rng = np.random.default_rng(8)
    families = [holm(dict(enumerate(rng.uniform(size=12)))) for _ in range(2000)]
    rate = np.mean([min(family.values()) < 0.05 for family in families])
    assert 0.035 < rate < 0.06


@pytest.mark.parametrize(("method", "count", "low", "high"), [("studentised", 6, 0.92, 0.97), ("bca", 6, 0.80, 0.89)])
def test_coverage_is_what_the_docstring_states(method, count, low, high):
    rng = np.random.default_rng(23)
    hits = 0
    for _ in range(800):
        lower, upper = patient_interval(rng.normal(30, 2, count), rng, method, draws=500)
        hits += lower <= 30 <= upper
    assert low < hits / 800 < high


def test_the_studentised_interval_is_near_students_for_normal_figures():
    values = np.random.default_rng(2).normal(1, 2, 30)
    half = stats.t.ppf(0.975, 29) * values.std(ddof=1) / 30**0.5
    found = patient_interval(values, np.random.default_rng(0))
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.12)


def test_equal_figures_have_an_interval_of_no_width():
    for method in ("studentised", "bca"):
        assert patient_interval([2.0] * 6, np.random.default_rng(0), method) == (2.0, 2.0)


def test_a_paired_contrast_ignores_what_patients_share():
    rng = np.random.default_rng(4)
    patient = rng.normal(30, 5, 12)
    found = paired_contrast(patient + 0.5 + rng.normal(0, 0.2, 12), patient, np.random.default_rng(0))
    assert found.patients == 12
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.5
    assert found.p_value < 0.01
    assert found.note is None


@pytest.mark.parametrize(
    ("count", "has_interval", "has_test", "note"),
    [
        (1, False, False, "only 1 patient: no intervals are given"),
        (4, False, False, "only 4 patients: no intervals are given"),
        (5, True, False, "only 5 patients: no test is given, since .* p = 0.06"),
        (6, True, True, None),
    ],
)
def test_few_patients_get_a_sentence(count, has_interval, has_test, note):
    found = paired_contrast(np.arange(count) + 1.0, np.zeros(count), np.random.default_rng(0))
    assert (found.low is not None, found.p_value is not None) == (has_interval, has_test)
    assert found.note == contrast_note(count)
    if note is not None:
        assert re.match(note, found.note)
    else:
        assert found.note is None


def test_unpaired_or_infinite_figures_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="5 and 6 patients"):
        paired_contrast(np.zeros(5), np.zeros(6), rng)
    for bad in ([np.inf, *range(6)], [np.nan] * 6, []):
        with pytest.raises(ValueError, match="one finite figure per patient"):
            sign_flip_p(bad)
    with pytest.raises(ValueError, match="at least 2"):
        patient_interval([1.0], rng)
