import numpy as np
import pytest
from scipy import stats

from ctcycle.metrics.jackknife import jackknife_intervals


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
