"""Intervals against the closed formula for a mean."""

import numpy as np
import pytest
from scipy import stats

from ctcycle.evaluation.physics.jackknife import jackknife


def test_a_mean_has_the_interval_of_students_t() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, (12, 2))
    found = jackknife(lambda numbers: values[numbers].mean(0), 12, groups=12)
    spread = stats.t.ppf(0.975, 11) * values.std(0, ddof=1) / np.sqrt(12)
    np.testing.assert_allclose(found[0], values.mean(0))
    np.testing.assert_allclose(found[1], values.mean(0) - spread)
    np.testing.assert_allclose(found[2], values.mean(0) + spread)


def test_groups_cover_a_ratio_of_means() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        draws = rng.normal([2.0, 1.0], 0.3, (50, 2))
        _, low, high = jackknife(lambda n, d=draws: d[n].mean(0)[:1] / d[n].mean(0)[1:], 50)  # type: ignore[misc]
        covered += int(low[0] <= 2.0 <= high[0])
    assert covered / 200 == pytest.approx(0.95, abs=0.04)
