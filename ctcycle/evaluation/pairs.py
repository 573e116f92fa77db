"""Pairs of slices in HU that denoisers are evaluated on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ctcycle.data.pair_check import check_pair
from ctcycle.data.slices import SliceData
from ctcycle.evaluation.baselines import HUImage


@dataclass(frozen=True)
class HUPair:
    """One slice in both doses.

    Attributes:
        patient: the manifest's key of the patient, not an identity.
        series: UID or path of the low-dose series.
        slice_index: its number within the series, from 0.
        low_hu: (H, W) float32, HU.
        full_hu: (H, W) float32, HU.
    """

    patient: str
    series: str
    slice_index: int
    low_hu: HUImage
    full_hu: HUImage


@dataclass(frozen=True)
class EvaluationPairs:
    """The pairs of a split as slices in HU, by number.

    Attributes:
        slices: decoded series.
        split: whose pairs.
    """

    slices: SliceData
    split: str

    def __iter__(self) -> Iterator[HUPair]:
        low, full = self.slices.paired(self.split)
        for number, pair in enumerate(self.slices.pairs(self.split)):
            series, index = pair.low_dose
            images = (low[number].astype(np.float32), full[number].astype(np.float32))
            yield HUPair(self.slices.row(series).patient, series, index, *images)

    def check(self, threshold: float) -> None:
        """Raises ManifestError, naming the slices, where two do not show the same anatomy."""
        remedy = "set guard=false to measure all the same"
        for pair, place in zip(self, self.slices.pairs(self.split), strict=True):
            check_pair(pair.low_hu, pair.full_hu, place, threshold, remedy)

    def __len__(self) -> int:
        return len(self.slices.pairs(self.split))
