"""Looking up a method's figures: by key, from the bench that answers best, with the full dose as reference."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ctcycle.evaluation.findings import Curve, Finding

BENCHES = ("pairs", "insertion", "physics")
"""The order in which benches are asked for a measure that several have: real scans before simulated ones."""

FULL_DOSE = "full dose"


@dataclass(frozen=True)
class Figures:
    """The figures of one method.

    Attributes:
        method: name of the method.
        findings: of all methods; those of other methods serve as references.
        curves: likewise.
    """

    method: str
    findings: Sequence[Finding]
    curves: Sequence[Curve] = ()

    def find(self, measure: str) -> Finding | None:
        """Return the finding of a measure that has a value, of the first bench that has one."""
        return next(iter(self.match(re.escape(measure))), None)

    def value(self, measure: str) -> float | None:
        """Return the value of a measure, of the first bench that has one."""
        found = self.find(measure)
        return found.value if found else None

    def match(self, pattern: str) -> list[Finding]:
        """Return the method's findings with a value whose key matches the pattern in full, by bench."""
        found = [
            finding
            for finding in self.findings
            if finding.method == self.method and finding.value is not None and re.fullmatch(pattern, finding.measure)
        ]
        return sorted(found, key=lambda finding: BENCHES.index(finding.bench))

    def missing(self) -> list[Finding]:
        """Return the method's findings without a value."""
        return [finding for finding in self.findings if finding.method == self.method and finding.value is None]

    def mean_frequencies(self, bench: str) -> tuple[float, float] | None:
        """Return the mean frequency of the method's noise and of full dose in one bench, in the bench's unit.

        Both come from the spectra, or both from findings: their units could differ.
        """
        names = (self.method, FULL_DOSE)
        spectra, known = self._from_spectra(bench), self._from_findings(bench)
        for found in (spectra, known):
            pair = [found.get(name) for name in names]
            if pair[0] is not None and pair[1] is not None:
                return pair[0], pair[1]
        return None

    def _from_spectra(self, bench: str) -> dict[str, float | None]:
        return {c.method: mean_frequency(c) for c in self.curves if (c.bench, c.plot) == (bench, "nps")}

    def _from_findings(self, bench: str) -> dict[str, float | None]:
        return {f.method: f.value for f in self.findings if (f.bench, f.measure) == (bench, "mean_frequency")}


def mean_frequency(nps: Curve) -> float | None:
    """Return the mean frequency of a noise power spectrum: sum of f (f NPS) over the sum of f NPS."""
    weights = [f * power for f, power in zip(nps.x, nps.y, strict=True)]
    total = sum(weights)
    return sum(f * w for f, w in zip(nps.x, weights, strict=True)) / total if total > 0 else None


def lesion(measure: str) -> str:
    """Return the lesion of a measure's key as text, for example "1.5 mm, 40 HU" of ``..._1p5mm_40hu``."""
    if measure.endswith("_dot"):
        return "bright 1 mm dot"
    found = re.search(r"(\d+(?:p\d+)?)mm(?:_(\d+)hu)?$", measure)
    if found is None:
        return measure
    radius, contrast = found[1].replace("p", "."), found[2]
    return f"{radius} mm, {contrast} HU lesion" if contrast else f"{radius} mm lesion"
