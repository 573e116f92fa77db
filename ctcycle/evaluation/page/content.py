"""What a report is made of; everything but the title and the methods may be absent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Curve, Finding, Measure, Picture
from ctcycle.evaluation.results import Row


@dataclass(frozen=True)
class MethodInfo:
    """A method as shown to readers: its name in the results, its title, its kind and the digest of what made it."""

    name: str
    title: str
    kind: str
    digest: str = ""


@dataclass(frozen=True)
class PatientDifferences:
    """A method minus the best classical filter, by patient key; the mean's interval and p-value where they exist."""

    method: str
    against: str
    measure: str
    by_patient: Mapping[str, float]
    ci95: tuple[float, float] | None = None
    p_value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class TrainingCurves:
    """Losses and validation PSNR of one run: name to (iteration, value); ``phases`` names iterations to mark."""

    method: str
    losses: Mapping[str, Sequence[tuple[int, float]]]
    validation: Mapping[str, Sequence[tuple[int, float]]]
    phases: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Panel:
    """One slice: images (H, W) in HU by title, the input first; ``reference`` is the title of full dose, if any."""

    patient: str
    slice_index: int
    images: Mapping[str, NDArray[np.float32]]
    reference: str = ""


@dataclass(frozen=True, eq=False)
class ReportContent:
    """All that a report shows.

    Attributes:
        title: heading.
        methods: in the order that decides between equal merits.
        measures: meaning of the findings' keys.
        findings: of all benches.
        curves: likewise.
        pictures: likewise, for example the worst patches.
        rows: fidelity by method and protocol.
        protocols: text of each protocol in ``rows``.
        contrasts: differences from the best classical filter.
        panels: slices to show.
        training: curves of the trained methods.
        notes: sentences for readers.
        provenance: names and values.
    """

    title: str
    methods: Sequence[MethodInfo]
    measures: Sequence[Measure] = ()
    findings: Sequence[Finding] = ()
    curves: Sequence[Curve] = ()
    pictures: Sequence[Picture] = ()
    rows: Sequence[Row] = ()
    protocols: Mapping[str, str] | None = None
    contrasts: Sequence[PatientDifferences] = ()
    panels: Sequence[Panel] = ()
    training: Sequence[TrainingCurves] = ()
    notes: Sequence[str] = ()
    provenance: Mapping[str, str] | None = None

    def title_of(self, method: str) -> str:
        """Return a method's title; references such as "full dose" are their own titles."""
        return next((item.title for item in self.methods if item.name == method), method)
