"""Slice references, and pairs of low- and full-dose slices at the same position."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from ctcycle.ct.grids import Gridded, Window, common_windows
from ctcycle.data.manifest import ManifestRow
from ctcycle.errors import ManifestError, SeriesError

Positions = Callable[[ManifestRow], Sequence[float]]
"""Returns the slice positions of a series in mm, or its slice numbers if the format has no positions."""

Grids = Callable[[ManifestRow], Gridded]
"""Returns the geometry of a series."""

MATCH_MM = 0.5
"""Slices further apart than this are never paired."""


class SliceRef(NamedTuple):
    """One slice: the ``series`` column of its row, its index in the series, and the part of it to use (None: all)."""

    series: str
    slice_index: int
    window: Window | None = None


class SlicePair(NamedTuple):
    """Two slices of the same anatomy, one at each dose."""

    low_dose: SliceRef
    full_dose: SliceRef


def paired_patients(rows: Iterable[ManifestRow]) -> set[str]:
    """Return the patients with matching series at both doses."""
    return {low.patient for low, _ in row_pairs(rows)}


def match_pairs(low: Sequence[float], full: Sequence[float]) -> list[tuple[int, int]]:
    """Return the index pairs of slices at the same position in two series, sorted by position, each slice used once.

    Positions match if they differ by less than half the smallest slice spacing and by less than 0.5 mm; slice numbers
    match if they are equal.

    Args:
        low: positions in mm of the low-dose series, in any order, or its slice numbers.
        full: the same for the full-dose series.
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


def pair_slices(rows: Iterable[ManifestRow], positions: Positions, grids: Grids | None = None) -> list[SlicePair]:
    """Return all pairs of low- and full-dose slices, each low-dose slice at most once, sorted by series and index.

    Series match if patient, kernel, thickness and image size agree; their slices are paired by `match_pairs`. Low-dose
    slices without a partner are skipped. Series that are shifted by whole pixels are paired in their common part.

    Args:
        rows: rows of a manifest.
        positions: returns the slice positions of a series.
        grids: returns the geometry of a series; None to compare positions only.

    Raises:
        ManifestError: no series match, or a low-dose series matches others but shares no slice position or no pixel
            grid with them.
    """
    partners: dict[str, list[SlicePair]] = defaultdict(list)
    refused: dict[str, str] = {}
    for low, full in row_pairs(rows):
        known = partners[low.series]
        taken = {pair.low_dose.slice_index for pair in known}
        matched = match_pairs(positions(low), positions(full))
        try:
            windows = common_windows(grids(low), grids(full), matched) if grids else (None, None)
        except SeriesError as error:
            refused.setdefault(low.series, f"series {low.series} (low dose) and {full.series} (full dose): {error}")
            continue
        known += [_pair((low, full), indices, windows) for indices in matched if indices[0] not in taken]
    if not partners:
        raise ManifestError(
            "no patient has both doses with the same kernel, slice thickness and image size; pairs need such series"
        )
    for series, pairs in partners.items():
        if not pairs and series in refused:
            raise ManifestError(
                f"{refused[series]}; reconstruct or resample one series on the pixel grid of the other, or remove one"
            )
        if not pairs:
            raise ManifestError(
                f"series {series}: no slice is at the position of a full-dose slice of its patient; "
                "check that both doses are of one scan, or remove the series"
            )
    return sorted(pair for pairs in partners.values() for pair in pairs)


def _pair(
    rows: tuple[ManifestRow, ManifestRow], indices: tuple[int, int], windows: tuple[Window | None, Window | None]
) -> SlicePair:
    low, full = (SliceRef(row.series, index, window) for row, index, window in zip(rows, indices, windows, strict=True))
    return SlicePair(low, full)


def row_pairs(rows: Iterable[ManifestRow]) -> list[tuple[ManifestRow, ManifestRow]]:
    """Return all pairs of matching low- and full-dose series, sorted by name."""
    full: dict[object, list[ManifestRow]] = defaultdict(list)
    ordered = sorted(rows, key=lambda row: row.series)
    for row in ordered:
        if row.dose == "full_dose":
            full[_scan_key(row)].append(row)
    return [(row, partner) for row in ordered if row.dose == "low_dose" for partner in full[_scan_key(row)]]


def _scan_key(row: ManifestRow) -> object:
    """Return the key shared by both doses of one scan; slice numbers (npy) cannot be compared with positions."""
    return row.patient, row.kernel, round(row.thickness_mm, 2), row.rows, row.columns, row.format == "npy"
