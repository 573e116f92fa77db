"""The verdict on each method: marks by question, sentences, and the order by merit."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from ctcycle.evaluation.findings import Curve, Finding
from ctcycle.evaluation.verdict.lookup import Figures
from ctcycle.evaluation.verdict.rules import Mark, MarkedFinding, Question, marked, with_derived
from ctcycle.evaluation.verdict.sentences import LITTLE, sentences

ENOUGH_REMOVED = 0.5
"""Share of the noise whose removal gives full merit: a quarter of the dose has twice the noise of full dose."""

MERIT_RULE = (
    "Merit is the number of questions answered well minus those answered badly, over the questions measured. "
    "A question is answered as its worst mark. The noise is no question of its own: a merit above 0 is multiplied by "
    "the share of noise removed over 50 %, at most 1. So a filter that removes nothing has merit 0, and a method below "
    "0 does more harm than that. Equal merits are ordered by error over floor. A method without the figure for noise "
    "is not scaled."
)


@dataclass(frozen=True)
class Verdict:
    """What the figures say of one method.

    Attributes:
        method: name of the method.
        sentences: plain sentences, the most important first.
        marks: every marked figure.
        answers: the worst mark for each question measured.
        merit: from -1 to 1; None if nothing was marked.
        does_little: whether it removes less than `LITTLE` of the noise.
    """

    method: str
    sentences: tuple[str, ...]
    marks: tuple[MarkedFinding, ...]
    answers: Mapping[Question, Mark]
    merit: float | None
    does_little: bool


def verdicts(methods: Iterable[str], findings: Sequence[Finding], curves: Sequence[Curve] = ()) -> tuple[Verdict, ...]:
    """Return the verdicts, the method with the highest merit first, those without any marked figure last.

    Args:
        methods: names, in the order that decides between equals.
        findings: of all benches and methods; figures of other methods serve as references.
        curves: likewise.
    """
    every = with_derived(findings)
    found = [_verdict(Figures(method, every, curves)) for method in methods]
    return tuple(sorted(found, key=_rank))


def _verdict(figures: Figures) -> Verdict:
    own = marked(finding for finding in figures.findings if finding.method == figures.method)
    answers = _answers(own)
    removed = figures.value("noise_removed")
    return Verdict(
        figures.method,
        tuple(sentences(figures)),
        tuple(own),
        answers,
        _merit(answers, removed),
        removed is not None and removed < LITTLE,
    )


def _answers(marks: Sequence[MarkedFinding]) -> dict[Question, Mark]:
    order = (Mark.BAD, Mark.NEUTRAL, Mark.GOOD)
    given: dict[Question, list[Mark]] = {}
    for item in marks:
        given.setdefault(item.rule.question, []).append(item.mark)
    return {q: min(given[q], key=order.index) for q in get_args(Question) if q in given}


def _merit(answers: Mapping[Question, Mark], removed: float | None) -> float | None:
    marks = [mark for question, mark in answers.items() if question != "noise"]
    if not marks:
        return None
    balance = (marks.count(Mark.GOOD) - marks.count(Mark.BAD)) / len(marks)
    if balance <= 0 or removed is None:
        return balance
    return balance * min(1.0, max(0.0, removed) / ENOUGH_REMOVED)


def _rank(verdict: Verdict) -> tuple[bool, float, float]:
    ratios = [item.finding.value for item in verdict.marks if item.finding.measure == "error_over_floor"]
    error = ratios[0] if ratios and ratios[0] is not None else float("inf")
    return (verdict.merit is None, -(verdict.merit or 0.0), error)
