"""Means and intervals by patient against plain loops and known coverage."""

import numpy as np
import pytest

from ctcycle.metrics.bootstrap import PatientMeans, bootstrap_interval, patient_means, too_few_patients


def test_means_by_patient():
    found = patient_means([1.0, 10.0, 3.0, 5.0], ["b", "a", "b", "c"])
    assert found.patients == ("b", "a", "c")
    assert found.means.tolist() == [2.0, 10.0, 5.0]
    assert found.slices.tolist() == [2, 1, 1]


@pytest.mark.parametrize(("values", "patients"), [([1.0], ["a", "b"]), ([], [])])
def test_values_and_patients_must_match(values, patients):
    with pytest.raises(ValueError, match="pass one patient per value"):
        patient_means(values, patients)


def test_the_interval_is_that_of_a_plain_loop():
    rng = np.random.default_rng(5)
    counts = [3, 40, 7, 12, 5, 9, 21]
    patients = [str(number) for number, count in enumerate(counts) for _ in range(count)]
    values = rng.normal(30, 1, len(patients)) + np.repeat(rng.normal(0, 3, len(counts)), counts)
    groups = [values[[p == str(number) for p in patients]] for number in range(len(counts))]
    draws = [np.concatenate([groups[i] for i in rng.integers(0, 7, 7)]).mean() for _ in range(4000)]
    found = bootstrap_interval(patient_means(values, patients), np.random.default_rng(0))
    assert found == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.25)


def test_the_same_generator_gives_the_same_interval():
    sample = patient_means(np.arange(12.0), [str(number // 2) for number in range(12)])
    first, again, other = (bootstrap_interval(sample, np.random.default_rng(seed), draws=500) for seed in (7, 7, 8))
    assert first == again != other


def test_coverage_is_near_what_is_claimed():
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(300):
        sample = PatientMeans(tuple(map(str, range(20))), rng.normal(30, 2, 20), rng.integers(5, 15, 20))
        low, high = bootstrap_interval(sample, rng, draws=400)
        hits += low <= 30 <= high
    assert 0.88 < hits / 300 < 0.98


def test_few_patients_have_no_interval_but_a_statement():
    slices = [str(number % 4) for number in range(100)]
    assert bootstrap_interval(patient_means(np.arange(100.0), slices), np.random.default_rng(0)) is None
    assert too_few_patients(4).startswith("only 4 patients: no intervals")
    assert too_few_patients(1).startswith("only 1 patient:")
    assert too_few_patients(5) is None


def test_an_infinite_figure_has_no_interval():
    sample = patient_means([np.inf, *np.arange(9.0)], list("abcdefghij"))
    assert bootstrap_interval(sample, np.random.default_rng(0)) is None
