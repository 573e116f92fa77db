"""Findings of the physics bench from values, intervals and counts."""

import math
from dataclasses import dataclass

from ctcycle.evaluation.findings import Finding

Ends = tuple[float, float]


@dataclass(frozen=True)
class Reporter:
    """Makes the findings of one method.

    Attributes:
        method: its name.
        count: size of the sample.
        count_of: what was counted.
    """

    method: str
    count: int
    count_of: str

    def found(self, measure: str, value: float, ends: Ends | None = None, note: str = "") -> Finding:
        """Return a finding; a value that is not finite becomes None, and so does an interval that is not."""
        known = math.isfinite(value)
        low, high = ends if ends is not None and known and all(map(math.isfinite, ends)) else (None, None)
        return Finding(
            self.method,
            "physics",
            measure,
            float(value) if known else None,
            None if low is None else float(low),
            None if high is None else float(high),
            self.count,
            self.count_of,
            note,
        )

    def missing(self, measures: tuple[str, ...], why: str) -> tuple[Finding, ...]:
        """Return findings without a value."""
        return tuple(self.found(measure, math.nan, note=why) for measure in measures)
