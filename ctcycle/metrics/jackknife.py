"""Intervals of any statistic of several parts, by leaving some out: patients one by one, or groups of realisations."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ctcycle.metrics.bootstrap import MIN_PATIENTS

LEVEL = 0.95
GROUPS = 10
"""Enough groups of realisations for a narrow interval, and few enough for a quick one."""

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Part = TypeVar("Part")

Figures = Mapping[str, float]
Intervals = dict[str, tuple[float, float] | None]


def jackknife(statistic: Callable[[Numbers], Array], count: int, groups: int = GROUPS) -> tuple[Array, Array, Array]:
    """Return a statistic with its 95 % delete-a-group interval and Student's t (Tukey 1958; Shao and Tu 1995, ch. 2.3).

    A figure such as a ratio of sums is not the mean of the parts' own figures, so these cannot be resampled; the
    jackknife needs only the figure without each group in turn. Of a mean, with groups of one, it is Student's interval.
    Simulated coverage of the ratio of two root mean squares with 5, 8, 12 groups of one: 0.93, 0.94, 0.95 (4000
    samples each).

    Args:
        statistic: of the parts with the given numbers; (K) values, smooth functions of means.
        count: number of parts, at least 2.
        groups: that are left out in turn; as many as parts, at most.

    Returns:
        Values, lower ends and upper ends, (K) each; the ends are NaN where a value without a group is.
    """
    numbers = np.arange(count)
    left_out = np.array(
        [statistic(np.setdiff1d(numbers, part)) for part in np.array_split(numbers, min(groups, count))]
    )
    value, freedom = statistic(numbers), len(left_out) - 1
    reach = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(freedom * left_out.var(axis=0))
    return value, value - reach, value + reach


def jackknife_intervals(parts: Sequence[Part], figures: Callable[[Sequence[Part]], Figures]) -> Intervals:
    """Return the interval of each figure that is pooled over patients, see `jackknife`.

    Args:
        parts: one a patient.
        figures: computes all figures of some patients.

    Returns:
        By name; None with fewer than `MIN_PATIENTS` patients, or where the figure cannot be computed without one.
    """
    names = list(figures(parts))
    if len(parts) < MIN_PATIENTS:
        return dict.fromkeys(names)

    def statistic(numbers: Numbers) -> Array:
        found = figures([parts[number] for number in numbers])
        return np.array([found[name] for name in names])

    _, low, high = jackknife(statistic, len(parts), len(parts))
    ends = zip(low.tolist(), high.tolist(), strict=True)
    return {name: pair if np.isfinite(pair).all() else None for name, pair in zip(names, ends, strict=True)}
