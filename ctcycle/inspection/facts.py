"""What is known of each series and of the folders: plain data, without any judgement."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct.series import SeriesInfo, Skipped
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.settings import Source
from ctcycle.inference.routine_dose import DoseLevel


@dataclass(frozen=True)
class Pixels:
    """What the pixels of a series say.

    Attributes:
        unit: unit of the stored values, with the rescale that was applied.
        low_hu: 1st percentile of the measured slices.
        high_hu: 99th percentile, likewise.
        padding: share of the pixels that is padding.
        beyond_window: share of the pixels of the body above `WINDOW_TOP_HU`.
        noise_hu: noise in soft tissue of each measured slice, by its index; slices without soft tissue are missing.
        level: the noise of the series compared with that of a routine dose.
        power_hu2: (N, N), the sum of the noise power of flat windows, see `ctcycle.metrics.spectral`.
        windows: how many windows the sum is of.
        digests: digest of the pixels in HU of each slice that was read, by its index.
        picture: PNG of one slice, cropped to the body; empty if it may hold burnt-in text.
    """

    unit: str
    low_hu: float
    high_hu: float
    padding: float
    beyond_window: float
    noise_hu: Mapping[int, float]
    level: DoseLevel
    power_hu2: NDArray[np.float64]
    windows: int
    digests: Mapping[int, str]
    picture: bytes = b""


@dataclass(frozen=True)
class SeriesFacts:
    """One series.

    Attributes:
        row: as a manifest lists it; its dose is the label.
        info: its files and geometry.
        patient: number of its patient, from 1; pages show it in place of the label.
        source: index of the source that it was found in.
        pixels: None if none of its pixels were read, to bound the time.
        display: window width and level of the header as text; empty if it has none.
    """

    row: ManifestRow
    info: SeriesInfo
    patient: int
    source: int
    pixels: Pixels | None = None
    display: str = ""

    @property
    def noise_hu(self) -> float:
        """Noise of the series in HU; NaN if unknown."""
        return self.pixels.level.noise_hu if self.pixels else float("nan")


@dataclass(frozen=True)
class PairFacts:
    """A low-dose series and the full-dose series that it is paired with.

    Attributes:
        low: name of the low-dose series.
        full: name of the full-dose series.
        slices: how many slices are at the same position.
        problem: why they are no pairs; empty if they are, or if they were not compared.
        compared: how many slices were compared by their anatomy.
    """

    low: str
    full: str
    slices: int
    problem: str = ""
    compared: int = 0


@dataclass(frozen=True)
class Copies:
    """Slices with the same pixels.

    Attributes:
        first: name of a series.
        second: name of another series, or the same.
        slices: how many slices of the second repeat slices of the first.
        kind: what makes them a problem.
    """

    first: str
    second: str
    slices: int
    kind: str


@dataclass(frozen=True)
class Facts:
    """Everything that was found in the folders.

    Attributes:
        sources: the folders, as given.
        series: the series that can be used, sorted by patient.
        skipped: files and series that cannot be used, with reasons.
        notes: sentences of the scan, about patients and doses.
        pairs: series of both doses of a patient.
        copies: repeated slices.
        every_slice: whether every slice was read; otherwise a sample of each series.
    """

    sources: tuple[Source, ...]
    series: tuple[SeriesFacts, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    pairs: tuple[PairFacts, ...] = ()
    copies: tuple[Copies, ...] = ()
    every_slice: bool = True
    labels: Mapping[int, str] = field(default_factory=dict)

    def of(self, name: str) -> SeriesFacts:
        """Return the series of a name."""
        return next(one for one in self.series if one.row.series == name)
