"""Checks series of both doses of a patient as training would: positions, pixel grids, anatomy of some slices."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct.grids import common_windows
from ctcycle.ct.series import SeriesInfo
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.pair_check import PairGuard
from ctcycle.data.pairs import SlicePair, SliceRef, match_pairs, row_pairs
from ctcycle.errors import ManifestError, SeriesError
from ctcycle.inspection.pixels import read_slices, spread

THRESHOLD = 0.65
"""Lowest correlation of the anatomy, as in training (``data.guard_threshold``)."""

_KEPT_SLICES = 48

HUImage = NDArray[np.float32]


class PairReader:
    """Decodes single slices of series on demand, and keeps the last few.

    Args:
        infos: the series by name.
    """

    def __init__(self, infos: Mapping[str, SeriesInfo]) -> None:
        self.infos = infos
        self.read = lru_cache(maxsize=_KEPT_SLICES)(self._read)

    def _read(self, series: str, index: int) -> HUImage:
        return next(read_slices(self.infos[series], [index]))[1]


class _Side(Sequence[HUImage]):
    """The slices of one dose of some pairs."""

    def __init__(self, reader: PairReader, refs: Sequence[SliceRef]) -> None:
        self._reader, self._refs = reader, refs

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, number: int) -> HUImage:  # type: ignore[override]  # slices of slices are never needed
        return self._image(self._refs[number])

    def neighbour(self, number: int, step: int) -> HUImage | None:
        """Return the slice ``step`` slices after that of pair ``number``; None beyond the ends of the series."""
        ref = self._refs[number]
        place = ref.slice_index + step
        if not 0 <= place < self._reader.infos[ref.series].shape[0]:
            return None
        return self._image(ref._replace(slice_index=place))

    def _image(self, ref: SliceRef) -> HUImage:
        image = self._reader.read(ref.series, ref.slice_index)
        return image if ref.window is None else ref.window.cut(image)


def pairs_of(rows: Sequence[ManifestRow]) -> list[tuple[ManifestRow, ManifestRow]]:
    """Return the low-dose series with their full-dose series, each low-dose series once if it has only one partner."""
    return row_pairs(rows)


def check_pair(
    low: ManifestRow, full: ManifestRow, infos: Mapping[str, SeriesInfo], compared: int
) -> tuple[int, int, str]:
    """Check two series that should show the same anatomy.

    Args:
        low: the low-dose series.
        full: the full-dose series of its patient.
        infos: the series by name.
        compared: slices whose anatomy is compared; 0 for none.

    Returns:
        The number of slices at the same position, the number that was compared, and why they are no pairs (empty if
        they are).
    """
    low_info, full_info = infos[low.series], infos[full.series]
    matched = match_pairs(low_info.positions_mm, full_info.positions_mm)
    if not matched:
        return 0, 0, "no slice is at the position of a slice of the other dose"
    try:
        windows = common_windows(low_info, full_info, matched)
        picked = [matched[place] for place in spread(len(matched), compared)] if compared else []
        pairs = [
            SlicePair(SliceRef(low.series, a, windows[0]), SliceRef(full.series, b, windows[1])) for a, b in picked
        ]
        reader = PairReader(infos)
        sides = [_Side(reader, [pair[side] for pair in pairs]) for side in (0, 1)]
        PairGuard(THRESHOLD, "leave one of them out").check(sides[0], sides[1], pairs)
    except (ManifestError, SeriesError) as error:
        return len(matched), compared, str(error)
    return len(matched), len(pairs), ""
