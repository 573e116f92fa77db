"""What a study of a denoiser returns: figures with intervals, curves and pictures, in one form for all benches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bench = Literal["pairs", "insertion", "physics"]
Aim = Literal["higher", "lower", "zero", "one"]


@dataclass(frozen=True)
class Measure:
    """What a figure means.

    Attributes:
        key: its name in ``results.json`` and in MLflow, for example ``contrast_kept_3mm_20hu``.
        title: the same for readers, for example "Contrast kept, 3 mm, 20 HU".
        unit: "HU", "dB", "mm", "cycles/px", or "" for a ratio.
        aim: what is best: a high value, a low one, one near 0 or one near 1.
        description: how it is computed, in one or two sentences with the source.
    """

    key: str
    title: str
    unit: str
    aim: Aim
    description: str


@dataclass(frozen=True)
class Finding:
    """One figure of one method.

    Attributes:
        method: name of the method in the evaluation.
        bench: where it was measured.
        measure: key of its `Measure`.
        value: in the measure's unit; None where it cannot be measured.
        low: lower end of the 95 % interval; None if there is none.
        high: upper end.
        count: size of the sample.
        count_of: what was counted: "patients", "slices", "sites", "images" or "windows".
        note: why the value is missing, or what a reader must know; empty if nothing.
    """

    method: str
    bench: Bench
    measure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    count: int = 0
    count_of: str = ""
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """One curve of one method, for a plot.

    Attributes:
        method: name of the method; also "full dose" or "input" for a reference curve.
        bench: where it was measured.
        plot: which plot it belongs to, for example ``nps`` or ``ttf``; all curves of a plot share their units.
        label: distinguishes it from the method's other curves in the plot, for example "-100 HU"; else empty.
        x: (N) in ascending order, in the unit of the plot.
        y: (N).
    """

    method: str
    bench: Bench
    plot: str
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Picture:
    """Images to show side by side, for example the patch with the largest disagreement.

    Attributes:
        method: name of the method.
        bench: where it was found.
        topic: what it shows, for example ``worst_patches``.
        caption: one sentence for the reader, without anything that identifies a patient.
        images: (H, W) in HU by title, in order; all of one shape.
        hu_window: lower and upper limit of the grey scale, HU.
    """

    method: str
    bench: Bench
    topic: str
    caption: str
    images: Mapping[str, NDArray[np.float32]]
    hu_window: tuple[float, float] = (-160.0, 240.0)


@dataclass(frozen=True)
class StudyResult:
    """All that one bench found about one method."""

    findings: tuple[Finding, ...] = ()
    curves: tuple[Curve, ...] = ()
    pictures: tuple[Picture, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = ()

    def __add__(self, other: "StudyResult") -> "StudyResult":
        """Return both results as one."""
        return StudyResult(
            self.findings + other.findings,
            self.curves + other.curves,
            self.pictures + other.pictures,
            self.notes + other.notes,
        )
