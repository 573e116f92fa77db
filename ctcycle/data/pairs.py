"""Which slices show the same anatomy at both doses: slice references, and pairs by position."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from ctcycle.data.manifest import ManifestRow
from ctcycle.errors import ManifestError

Positions = Callable[[ManifestRow], Sequence[float]]
"""Gives the slice positions of a series in mm, or its slice numbers where the format has no positions."""


MATCH_MM = 0.5
"""Slices further apart than this never show the same anatomy."""


class SliceRef(NamedTuple):
    """One slice: the ``series`` column of its row, and where in the series it is."""

    series: str
    slice_index: int


class SlicePair(NamedTuple):
    """Two slices that show the same anatomy."""

    low_dose: SliceRef
    full_dose: SliceRef


def paired_patients(rows: Iterable[ManifestRow]) -> set[str]:
    """The patients that have series of both doses that belong together."""
    return {low.patient for low, _ in _row_pairs(rows)}


def match_pairs(low: Sequence[float], full: Sequence[float]) -> list[tuple[int, int]]:
    """Index pairs of the slices of two series that lie at the same position, each slice at most once, by position.

    Positions are the same if they are less than half the smallest slice distance apart, and less than 0.5 mm; for slice
    numbers this means equal numbers.

    Args:
        low: positions in mm of the low-dose series, in any order, or its slice numbers.
        full: those of the full-dose series.
    """
    gaps = [abs(b - a) for side in (low, full) for a, b in pairwise(sorted(side)) if a != b]
    tolerance = min([MATCH_MM, *(gap / 2 for gap in gaps)])
    order = sorted(range(len(full)), key=lambda index: full[index])
    pairs, start = [], 0
    for index in sorted(range(len(low)), key=lambda index: low[index]):
        while start < len(order) and full[order[start]] <= low[index] - tolerance:
            start += 1
        if start < len(order) and abs(full[order[start]] - low[index]) < tolerance:
            pairs.append((index, order[start]))
            start += 1
    return pairs


def pair_slices(rows: Iterable[ManifestRow], positions: Positions) -> list[SlicePair]:
    """All pairs of low- and full-dose slices, each low-dose slice at most once, sorted by series and index.

    Series belong together if patient, kernel, thickness and image size agree; slices by `match_pairs`. Low-dose slices
    without a partner are left out.

    Raises:
        ManifestError: no series belong together, or a low-dose series has partners but not one common position.
    """
    partners: dict[str, list[SlicePair]] = defaultdict(list)
    taken: set[SliceRef] = set()
    for low, full in _row_pairs(rows):
        known = partners[low.series]
        for low_index, full_index in match_pairs(positions(low), positions(full)):
            pair = SlicePair(SliceRef(low.series, low_index), SliceRef(full.series, full_index))
            known += [] if pair.low_dose in taken else [pair]
            taken.add(pair.low_dose)
    if not partners:
        raise ManifestError(
            "no patient has both doses in the same kernel, slice thickness and image size; pairs need them"
        )
    for series, pairs in partners.items():
        if not pairs:
            raise ManifestError(
                f"series {series}: no slice has the position of a full-dose slice of its patient; "
                "check that both are of one scan, or leave the series out"
            )
    return sorted(pair for pairs in partners.values() for pair in pairs)


def _row_pairs(rows: Iterable[ManifestRow]) -> list[tuple[ManifestRow, ManifestRow]]:
    """Low- and full-dose series that belong together, all combinations, sorted by their names."""
    full: dict[object, list[ManifestRow]] = defaultdict(list)
    ordered = sorted(rows, key=lambda row: row.series)
    for row in ordered:
        if row.dose == "full_dose":
            full[_scan_key(row)].append(row)
    return [(row, partner) for row in ordered if row.dose == "low_dose" for partner in full[_scan_key(row)]]


def _scan_key(row: ManifestRow) -> object:
    """What two series of one scan have in common; slice numbers (npy) cannot be compared with positions."""
    return row.patient, row.kernel, round(row.thickness_mm, 2), row.rows, row.columns, row.format == "npy"
