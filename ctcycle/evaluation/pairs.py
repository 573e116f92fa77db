"""Slices in HU for the evaluation of denoisers: low dose alone, or with the full dose of the same anatomy."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct.grids import Window
from ctcycle.data.pair_check import PairGuard
from ctcycle.data.pairs import SliceRef
from ctcycle.data.slices import SliceData, StoredSlices

HUImage = NDArray[np.float32]


@dataclass(frozen=True)
class LowDoseSlice:
    """One low-dose slice.

    Attributes:
        patient: the patient's key in the manifest, not an identity.
        series: key of the low-dose series in the manifest.
        slice_index: index of the slice in the series, from 0; neighbours in space have neighbouring indices.
        low_hu: (H, W) float32, HU.
        spacing_mm: distance of rows and of columns; 0.0 if unknown.
        position_mm: position along the slice normal; None if the format has none.
        window: the part of the series' slices that is used; None for all of it.
    """

    patient: str
    series: str
    slice_index: int
    low_hu: HUImage
    spacing_mm: tuple[float, float] = field(default=(0.0, 0.0), kw_only=True)
    position_mm: float | None = field(default=None, kw_only=True)
    window: Window | None = field(default=None, kw_only=True)

    @property
    def where(self) -> str:
        """The slice's name for messages."""
        return f"series {self.series}, slice {self.slice_index}"


@dataclass(frozen=True)
class HUPair(LowDoseSlice):
    """One slice at both doses.

    Attributes:
        full_hu: (H, W) float32, HU: the full dose of the same anatomy.
    """

    full_hu: HUImage


@dataclass(frozen=True)
class EvaluationPairs:
    """The pairs of a split as slices in HU, in order.

    Attributes:
        slices: the decoded series.
        split: name of the split.
    """

    slices: SliceData
    split: str

    def __iter__(self) -> Iterator[HUPair]:
        pairs = self.slices.pairs(self.split)
        full = StoredSlices(self.slices.series, [pair.full_dose for pair in pairs])
        lows = _low_slices(self.slices, [pair.low_dose for pair in pairs])
        for number, low in enumerate(lows):
            yield HUPair(**vars(low), full_hu=full[number].astype(np.float32))

    def check(self, threshold: float) -> None:
        """Check that the two slices of each pair show the same anatomy.

        Args:
            threshold: lowest correlation accepted as the same anatomy.

        Raises:
            ManifestError: two slices do not match, or two series are off by whole slices; the message names them.
        """
        low, full = self.slices.paired(self.split)
        PairGuard(threshold, "set guard=false to evaluate anyway").check(low, full, self.slices.pairs(self.split))

    def __len__(self) -> int:
        return len(self.slices.pairs(self.split))


@dataclass(frozen=True)
class LowDoseSlices:
    """All low-dose slices of a split in HU, in order, for data without full dose.

    Attributes:
        slices: the decoded series.
        split: name of the split.
    """

    slices: SliceData
    split: str

    def __iter__(self) -> Iterator[LowDoseSlice]:
        return _low_slices(self.slices, self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    @property
    def _refs(self) -> list[SliceRef]:
        rows = self.slices.manifest.select(dose="low_dose", split=self.split)  # type: ignore[arg-type]
        keys = sorted(row.series for row in rows)
        return [SliceRef(key, index) for key in keys for index in range(self.slices.series[key].shape[0])]


Slices = EvaluationPairs | LowDoseSlices


def slices_digest(slices: Slices) -> str:
    """Return a hash of all that methods and benches see of the slices: pixels, geometry and names."""
    found = hashlib.sha256()
    for item in slices:
        names = (item.patient, item.series, item.slice_index, item.spacing_mm, item.position_mm, item.window)
        found.update(repr((names, item.low_hu.shape)).encode())
        for image in (item.low_hu, item.full_hu) if isinstance(item, HUPair) else (item.low_hu,):
            found.update(np.ascontiguousarray(image).data)
    return found.hexdigest()


def _low_slices(data: SliceData, refs: list[SliceRef]) -> Iterator[LowDoseSlice]:
    images = StoredSlices(data.series, refs)
    rows = {row.series: row for row in data.manifest}
    for number, (series, index, window) in enumerate(refs):
        row, stored = rows[series], data.series[series]
        yield LowDoseSlice(
            row.patient,
            series,
            index,
            images[number].astype(np.float32),
            spacing_mm=stored.spacing_mm[1:],
            position_mm=None if row.format == "npy" else stored.positions_mm[index],
            window=window,
        )
