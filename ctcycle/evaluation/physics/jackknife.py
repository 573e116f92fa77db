"""Intervals of any statistic of several realisations, by leaving out groups of them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

GROUPS = 10

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


def jackknife(
    statistic: Callable[[Numbers], Array], count: int, groups: int = GROUPS, level: float = 0.95
) -> tuple[Array, Array, Array]:
    """Return a statistic with its delete-a-group jackknife interval (Shao and Tu 1995, ch. 2.3).

    Args:
        statistic: of the realisations with the given numbers; (K) values, smooth functions of means.
        count: number of realisations.
        groups: of realisations; fewer where there are fewer realisations.
        level: coverage.

    Returns:
        Values, lower ends and upper ends, (K) each; with t quantiles of ``groups - 1`` degrees of freedom.
    """
    parts = np.array_split(np.arange(count), min(groups, count))
    value = statistic(np.arange(count))
    left_out = np.array([statistic(np.setdiff1d(np.arange(count), part)) for part in parts])
    freedom = len(parts) - 1
    error = np.sqrt(freedom * left_out.var(axis=0))
    spread = stats.t.ppf((1 + level) / 2, freedom) * error
    return value, value - spread, value + spread
