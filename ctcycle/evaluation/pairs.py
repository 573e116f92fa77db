"""Pairs of slices in HU for the evaluation of denoisers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ctcycle.data.pair_check import PairGuard
from ctcycle.data.slices import SliceData
from ctcycle.evaluation.baselines import HUImage


@dataclass(frozen=True)
class HUPair:
    """One slice at both doses.

    Attributes:
        patient: the patient's key in the manifest, not an identity.
        series: UID or path of the low-dose series.
        slice_index: index of the slice in the series, from 0.
        low_hu: (H, W) float32, HU.
        full_hu: (H, W) float32, HU.
        spacing_mm: between the centres of rows and of columns.
    """

    patient: str
    series: str
    slice_index: int
    low_hu: HUImage
    full_hu: HUImage
    spacing_mm: tuple[float, float] = (1.0, 1.0)


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
        low, full = self.slices.paired(self.split)
        for number, pair in enumerate(self.slices.pairs(self.split)):
            series, index, _ = pair.low_dose
            images = (low[number].astype(np.float32), full[number].astype(np.float32))
            yield HUPair(self.slices.row(series).patient, series, index, *images)

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
