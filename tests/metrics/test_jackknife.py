import numpy as np
import pytest
from scipy import stats

from ctcycle.metrics.jackknife import jackknife, jackknife_intervals


def test_the_interval_of_a_mean_is_students():
    values = np.random.default_rng(0).normal(3, 1, 9)
    low, high = jackknife_intervals(list(values), lambda kept: {"mean": float(np.mean(kept))})["mean"]
    expected = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected)


@pytest.mark.parametrize("patients", [5, 12])
def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says(patients):
    rng = np.random.default_rng(1)

    def ratio(kept):
        error, floor = np.sum(kept, axis=0)
        return {"ratio": float(np.sqrt(error / floor))}

    covered = 0
    for _ in range(600):
        level = rng.uniform(200, 500, patients)
        parts = list(np.stack([level * rng.uniform(1.0, 1.4, patients), level], axis=1))
        low, high = jackknife_intervals(parts, ratio)["ratio"]
        covered += low <= np.sqrt(1.2) <= high
    assert 0.91 <= covered / 600 <= 0.98


def test_no_interval_with_few_patients_or_without_a_figure():
    assert jackknife_intervals([1.0, 2.0, 3.0, 4.0], lambda kept: {"mean": sum(kept)}) == {"mean": None}
    assert jackknife_intervals([1.0] * 6, lambda kept: {"odd": 0.0 if len(kept) == 6 else float("nan")}) == {
        "odd": None
    }


def test_groups_of_one_give_students_interval_of_a_mean():
    values = np.random.default_rng(0).normal(3.0, 2.0, (12, 2))
    found = jackknife(lambda numbers: values[numbers].mean(0), 12, groups=12)
    spread = stats.t.ppf(0.975, 11) * values.std(0, ddof=1) / np.sqrt(12)
    np.testing.assert_allclose(found[0], values.mean(0))
    np.testing.assert_allclose(found[1], values.mean(0) - spread)
    np.testing.assert_allclose(found[2], values.mean(0) + spread)


def test_groups_cover_a_ratio_of_means():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        draws = rng.normal([2.0, 1.0], 0.3, (50, 2))
        _, low, high = jackknife(lambda n, d=draws: d[n].mean(0)[:1] / d[n].mean(0)[1:], 50)
        covered += int(low[0] <= 2.0 <= high[0])
    assert covered / 200 == pytest.approx(0.95, abs=0.04)
