"""The primary contrast of an evaluation: each method minus the best classical filter, paired by patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ctcycle.metrics import ProtocolName
from ctcycle.metrics.bootstrap import patient_means
from ctcycle.metrics.significance import holm, paired_contrast

PRIMARY: tuple[Literal["psnr", "ssim"], ...] = ("psnr", "ssim")
"""Primary measures; the first one chooses the best classical filter."""

COVERAGE_NOTE = (
    "intervals of differences: studentised bootstrap over patients, 95 % (simulated coverage with 5 patients 0.95 for "
    "normal and 0.92 for exponential differences, with 12 patients 0.94); p: exact sign-flip test, Holm-adjusted over "
    "methods and measures"
)


class Scored(Protocol):
    """The part of a slice record that contrasts need."""

    @property
    def method(self) -> str:
        """Name of the method."""

    @property
    def protocol(self) -> ProtocolName:
        """Protocol of the scores."""

    @property
    def patient(self) -> str:
        """The patient's key."""


@dataclass(frozen=True)
class Contrast:
    """A method minus the best classical filter on the same patients.

    Attributes:
        method: name of the method.
        filter: name of the classical filter, best in the first primary measure.
        protocol: protocol of the scores.
        measure: ``psnr`` (dB) or ``ssim``; positive differences favour the method.
        patients: how many patients were compared.
        difference: mean over patients; None if a patient's figure is infinite.
        ci95: 95 % interval of the mean; None with too few patients.
        p_value: exact two-sided sign-flip test; None with too few patients.
        p_holm: the same, Holm-adjusted over methods and measures.
        note: the sentence that replaces what is missing; empty if nothing is missing.
    """

    method: str
    filter: str
    protocol: ProtocolName
    measure: str
    patients: int
    difference: float | None
    ci95: tuple[float, float] | None
    p_value: float | None
    p_holm: float | None
    note: str


def contrasts(
    records: Sequence[Scored], protocol: ProtocolName, methods: Sequence[str], filters: Sequence[str], seed: int = 0
) -> tuple[Contrast, ...]:
    """Compare each method with the best classical filter, under one protocol.

    Args:
        records: scores of all methods and filters on the same slices.
        protocol: the protocol to compare under.
        methods: names of the methods to compare.
        filters: names of the classical filters.
        seed: seed of the bootstrap.

    Returns:
        One contrast a method and primary measure; empty without a method or a filter.
    """
    own = [record for record in records if record.protocol == protocol]
    known = {record.method for record in own}
    filters = [name for name in filters if name in known]
    if not filters:
        return ()
    means = {name: _means(own, name, PRIMARY[0]) for name in filters}
    best = max(filters, key=lambda name: float(np.mean(means[name])))
    found = [
        _contrast(own, (method, best), measure, seed) for method in methods if method in known for measure in PRIMARY
    ]
    adjusted = holm({f"{c.method}/{c.measure}": c.p_value for c in found if c.p_value is not None})
    return tuple(replace(c, p_holm=adjusted.get(f"{c.method}/{c.measure}")) for c in found)


def contrast_lines(found: Sequence[Contrast], titles: Mapping[str, str]) -> list[str]:
    """Return the contrasts as sentences, with the note on coverage, or on too few patients, once at the end.

    Args:
        found: the contrasts.
        titles: titles of methods by name; a name without one is shown as it is.
    """
    lines = [_sentence(contrast, titles) for contrast in found]
    notes = list(dict.fromkeys(contrast.note for contrast in found if contrast.note))
    if any(contrast.ci95 for contrast in found):
        notes.append(COVERAGE_NOTE)
    return [*lines, *notes]


def _sentence(contrast: Contrast, titles: Mapping[str, str]) -> str:
    method, best = (titles.get(name, name) for name in (contrast.method, contrast.filter))
    start = f"{method} minus {best} (the best classical filter), {contrast.measure.upper()}"
    unit, form = (" dB", "+.2f") if contrast.measure == "psnr" else ("", "+.4f")
    if contrast.difference is None:
        return f"{start}: not measurable"
    text = f"{start}: {contrast.difference:{form}}{unit}"
    if contrast.ci95:
        text += f" (95 % {contrast.ci95[0]:{form}} to {contrast.ci95[1]:{form}})"
    if contrast.p_holm is not None:
        text += f", p = {contrast.p_holm:.3f}"
    return f"{text}, {contrast.patients} {'patient' if contrast.patients == 1 else 'patients'}"


def _contrast(records: Sequence[Scored], pair: tuple[str, str], measure: str, seed: int) -> Contrast:
    method, best = pair
    first, second = _means(records, method, measure), _means(records, best, measure)
    names = (method, best, records[0].protocol, measure, first.size)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return Contrast(*names, None, None, None, None, f"{method}: a slice equals full dose, so its PSNR is infinite")
    found = paired_contrast(first, second, np.random.default_rng(seed))
    interval = None if found.low is None or found.high is None else (found.low, found.high)
    return Contrast(*names, found.mean_difference, interval, found.p_value, None, found.note or "")


def _means(records: Sequence[Scored], method: str, measure: str) -> NDArray[np.float64]:
    own = [record for record in records if record.method == method]
    values = [float(getattr(record, measure)) for record in own]
    return patient_means(values, [record.patient for record in own]).means
