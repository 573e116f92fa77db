"""Marks of single figures, good, neutral or bad, by rules that every report prints."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ctcycle.evaluation.findings import Finding

Side = Literal["at most", "at least", "within"]
Question = Literal[
    "noise",
    "error",
    "texture",
    "contrast",
    "sharpness",
    "detectability",
    "HU",
    "structures",
    "slices",
    "features",
]


class Mark(Enum):
    """The mark of a figure; its value is the sign that stands beside the colour."""

    GOOD = "+"
    NEUTRAL = "o"
    BAD = "-"


@dataclass(frozen=True)
class Rule:
    """Limits of a measure.

    Attributes:
        question: what the measure helps to answer; each question counts once in the merit.
        title: name of the measure for readers.
        keys: pattern of the keys of `Finding.measure`, matched in full.
        side: whether the value must be at most or at least the limits, or within them of ``target``.
        good: limit of a good value.
        bad: limit of a bad value; a value between the two is neutral.
        unit: unit of the limits, empty for a ratio.
        target: the middle, for "within".
        reason: where the limits come from.
    """

    question: Question
    title: str
    keys: str
    side: Side
    good: float
    bad: float
    unit: str = ""
    target: float = 0.0
    reason: str = ""

    def applies(self, measure: str) -> bool:
        """Return whether the rule is for the measure with this key."""
        return re.fullmatch(self.keys, measure) is not None

    def of_value(self, value: float) -> Mark:
        """Return the mark of a value without an interval."""
        distance = abs(value - self.target) if self.side == "within" else value
        sign = -1.0 if self.side == "at least" else 1.0
        if sign * distance > sign * self.bad:
            return Mark.BAD
        return Mark.GOOD if sign * distance <= sign * self.good else Mark.NEUTRAL

    def of_finding(self, finding: Finding) -> Mark | None:
        """Return the mark of a figure, neutral where its interval reaches from good to bad; None without a value."""
        if finding.value is None:
            return None
        mark = self.of_value(finding.value)
        reached = {self.of_value(end) for end in (finding.low, finding.high) if end is not None} | {mark}
        return Mark.NEUTRAL if {Mark.GOOD, Mark.BAD} <= reached else mark

    def text(self) -> str:
        """Return the rule as printed."""
        unit = f" {self.unit}" if self.unit else ""
        if self.side == "within":
            middle = "" if self.target == 0 else f" {self.target:g}"
            good, bad = f"within {self.good:g}{unit} of{middle or ' 0'}", f"off by more than {self.bad:g}{unit}"
        else:
            beyond = "more than" if self.side == "at most" else "less than"
            good, bad = f"{self.side} {self.good:g}{unit}", f"{beyond} {self.bad:g}{unit}"
        return f"good: {good}; bad: {bad}" + (f". {self.reason}" if self.reason else "")


LESION = r"\d+(?:p\d+)?mm"

RULES: tuple[Rule, ...] = (
    Rule("noise", "Noise removed", "noise_removed", "at least", 0.3, 0.0, reason="A method should lower the noise"),
    Rule(
        *("error", "Error over its floor", "error_over_floor", "at most", 1.05, 1.2),
        reason="The floor is the error that full dose's own noise leaves to the best linear filter",
    ),
    Rule("error", "Error over its floor, fine detail", "error_over_floor_fine", "at most", 1.2, 1.5),
    Rule(
        *("texture", "Texture distance", "texture_distance", "at most", 0.1, 0.1),
        reason="0: the noise has the spectrum of full dose; 1: the spectra have nothing in common",
    ),
    Rule(
        *("texture", "Fine noise power over full dose", "fine_power_ratio", "at most", 1.2, 1.5),
        reason="Above 0.4 cycles/px",
    ),
    Rule(
        *("contrast", "Contrast kept of lesions", rf"contrast_kept_(?:{LESION}_\d+hu|dot)", "at least", 0.9, 0.8),
        reason="Lesions are added to the input; their contrast in the output is compared with what was added",
    ),
    Rule(
        *("sharpness", "Resolution (f50) over the scan's", r"resolution_\w+_f50_ratio", "at least", 0.9, 0.9),
        reason="f50 is the spatial frequency at which half of the contrast is left",
    ),
    Rule(
        *("detectability", "Detectability over the input's", rf"d_prime_(?:eye_)?ratio_{LESION}", "at least"),
        *(0.95, 0.95),
        reason="Kept where the whole interval is above the limit; lost where all of it is below",
    ),
    Rule(
        *("HU", "HU error beyond the input's", r"bias_\w+_beyond_input_hu", "within", 1.0, 2.0, "HU"),
        reason="Marked by the output's own error where that is smaller: it may correct the input's",
    ),
    Rule(
        *("HU", "HU error", r"bias_hu|bias_outside_air_hu", "within", 1.0, 2.0, "HU"),
        reason="By tissue it is marked only where the input's own error is known",
    ),
    Rule("HU", "Slope of HU", "slope", "within", 0.005, 0.01, target=1.0),
    Rule("HU", "Slope of HU beyond the input's", "slope_beyond_input", "within", 0.005, 0.01),
    Rule(
        *("structures", "False structures over chance", "false_structures_ratio", "at most", 1.5, 2.0),
        reason="Chance is what two full-dose scans of the same object differ by",
    ),
    Rule(
        *("structures", "Patches that disagree with full dose", "disagreeing_patches", "at most", 0.02, 0.05),
        reason="By chance 0.01",
    ),
    Rule(
        *("structures", "Structure in what was removed", "structure_excess", "at most", 0.05, 0.1),
        reason="Correlation of the removed part with edges, beyond chance",
    ),
    Rule(
        *("slices", "Change between slices over full dose's", "between_slices_ratio", "within", 0.15, 0.25),
        target=1.0,
    ),
    Rule("features", "Agreement of texture features (CCC)", "feature_agreement", "at least", 0.9, 0.5),
)
"""Every rule; at most one applies to a measure."""


@dataclass(frozen=True)
class MarkedFinding:
    """A figure with its mark."""

    finding: Finding
    rule: Rule
    mark: Mark


def rule_for(measure: str) -> Rule | None:
    """Return the rule of a measure; None if it is not marked."""
    return next((rule for rule in RULES if rule.applies(measure)), None)


def mark_of(finding: Finding, findings: Iterable[Finding]) -> Mark | None:
    """Return the mark of a figure; None without a rule or a value.

    An HU error and its part beyond the input's are marked alike, as the better of the two: a method is blamed neither
    for an error that its input has already, nor for correcting it. A slope is not: noise of the reference flattens it.

    Args:
        finding: the figure.
        findings: in which the other of the two is looked for.
    """
    rule = rule_for(finding.measure)
    mark = rule.of_finding(finding) if rule else None
    if rule is None or mark is None:
        return None
    if not finding.measure.startswith("bias_"):
        return mark
    wanted = (finding.method, finding.bench, _counterpart(finding.measure))
    others = (other for other in findings if (other.method, other.bench, other.measure) == wanted)
    marks = [mark, *((rule_for(other.measure) or rule).of_finding(other) for other in others)]
    return next(best for best in Mark if best in marks)


def _counterpart(measure: str) -> str:
    if "_beyond_input" in measure:
        return measure.replace("_beyond_input", "")
    return measure.replace("_hu", "_beyond_input_hu")


def marked(findings: Iterable[Finding]) -> list[MarkedFinding]:
    """Return the figures that have a rule and a value, each with its mark."""
    every = list(findings)
    found = []
    for finding in every:
        rule, mark = rule_for(finding.measure), mark_of(finding, every)
        if rule and mark:
            found.append(MarkedFinding(finding, rule, mark))
    return found


def with_derived(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings and those that follow from two of them.

    Added are the change between slices over full dose's, and the noise removed where a bench only gives the noise.
    """
    return [*findings, *_slice_ratios(findings), *_noise_removed(findings)]


def _slice_ratios(findings: Sequence[Finding]) -> Iterable[Finding]:
    full = {(f.method, f.bench): f.value for f in findings if f.measure == "between_slices_full"}
    given = {(f.method, f.bench) for f in findings if f.measure == "between_slices_ratio"}
    for finding in findings:
        if (finding.method, finding.bench) in given:
            continue
        reference = full.get((finding.method, finding.bench))
        if finding.measure == "between_slices" and finding.value is not None and reference:
            yield Finding(
                *(finding.method, finding.bench, "between_slices_ratio", finding.value / reference),
                *(None, None, finding.count, finding.count_of),
            )


def _noise_removed(findings: Sequence[Finding]) -> Iterable[Finding]:
    given = {(f.method, f.bench) for f in findings if f.measure == "noise_removed" and f.value is not None}
    before = {f.bench: f.value for f in findings if f.measure == "noise_hu" and f.method == "input"}
    for finding in findings:
        reference = before.get(finding.bench)
        wanted = finding.measure == "noise_hu" and (finding.method, finding.bench) not in given
        if wanted and finding.value is not None and reference:
            yield Finding(
                *(finding.method, finding.bench, "noise_removed", 1 - finding.value / reference),
                *(None, None, finding.count, finding.count_of),
            )
