"""Gathers the facts: finds the series, reads a bounded number of their slices, compares them with each other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ctcycle.ct.series import SeriesInfo, Skipped
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.scan import find_rows
from ctcycle.data.settings import Source
from ctcycle.errors import SeriesError
from ctcycle.inspection.copies import find_copies
from ctcycle.inspection.display import display_of
from ctcycle.inspection.facts import Facts, PairFacts, SeriesFacts
from ctcycle.inspection.pairing import check_pair, pairs_of
from ctcycle.inspection.pixels import measure_pixels, spread

_COMPARED_PAIRS = 24
"""Pairs of series whose anatomy is compared; more are only compared by position."""

_COMPARED_SLICES = 4
_PICTURES = 60


@dataclass(frozen=True)
class Limits:
    """How much is read.

    Attributes:
        slices: slices of each series that are measured.
        most_slices: slices that are read in all; every slice, if there are no more than these.
    """

    slices: int = 8
    most_slices: int = 2000


class Progress(Protocol):
    """Shows progress while series are read."""

    def __call__(self, items: Sequence[ManifestRow], what: str, /) -> Iterator[ManifestRow]:
        """Yield the items, and report each."""


def _silent(items: Sequence[ManifestRow], _what: str, /) -> Iterator[ManifestRow]:
    return iter(items)


def gather(
    sources: Sequence[Source],
    root: Path,
    limits: Limits,
    *,
    salt: str = "",
    found: Callable[[Path], object] | None = None,
    progress: Progress = _silent,
) -> Facts:
    """Look at all series of the sources; memory does not grow with their number.

    Args:
        sources: the folders.
        root: folder of the files that will be written; paths in manifests are relative to it.
        limits: how much is read.
        salt: see `ctcycle.data.scan.find_rows`.
        found: called with each image file before its header is read.
        progress: shows which series is being read.

    Raises:
        SeriesError: a source does not exist or holds no CT, or no series can be used.
        ManifestError: the pattern of a source does not match.
    """
    listed = find_rows(sources, root, salt=salt, progress=found)
    rows = sorted(listed.rows, key=lambda row: (row.patient, row.dose, row.path, row.uid))
    every = sum(row.slices for row in rows) <= limits.most_slices
    series, refused = _measured(rows, listed.infos, sources, limits, progress, every=every)
    if not series:
        raise SeriesError(f"{sources[0].path}: no CT can be used; {refused[0].path}: {refused[0].reason}")
    patients = {name: number for number, name in enumerate(sorted({one.row.patient for one in series}), 1)}
    numbered = tuple(replace(one, patient=patients[one.row.patient]) for one in series)
    return Facts(
        sources=tuple(sources),
        series=numbered,
        skipped=(*listed.skipped, *refused),
        notes=listed.notes,
        pairs=tuple(_without_other_scans([*_pairs([one.row for one in numbered], listed.infos, progress)])),
        copies=tuple(find_copies(numbered)),
        every_slice=every,
        labels={number: name for name, number in patients.items()},
    )


def _measured(
    rows: Sequence[ManifestRow],
    infos: Mapping[str, SeriesInfo],
    sources: Sequence[Source],
    limits: Limits,
    progress: Progress,
    *,
    every: bool,
) -> tuple[list[SeriesFacts], list[Skipped]]:
    """Return the series that can be used, and those that cannot; the pixels of some remain unread if there are many."""
    read = set(spread(len(rows), max(1, limits.most_slices // limits.slices)))
    pictured = set(spread(len(rows), _PICTURES))
    series, refused = [], []
    for number, row in enumerate(progress(rows, "reading")):
        info, display = infos[row.series], display_of(infos[row.series])
        try:
            shown = number in pictured and not display.burnt_in
            pixels = (
                measure_pixels(info, limits.slices, every=every, picture=shown) if number in read or every else None
            )
        except SeriesError as error:
            refused.append(Skipped(info.path, str(error).removeprefix(f"{info.path}: "), refused=True))
            continue
        series.append(SeriesFacts(row, info, 0, _source_of(info, sources), pixels, display.window))
    return series, refused


def _source_of(info: SeriesInfo, sources: Sequence[Source]) -> int:
    """Return the index of the source that holds a series."""
    path = info.files[0].absolute()
    return next((n for n, source in enumerate(sources) if path.is_relative_to(source.path.absolute())), 0)


def _without_other_scans(pairs: Sequence[PairFacts]) -> Iterator[PairFacts]:
    """Leave out pairs without a common position whose low-dose series has another partner: another scan's."""
    paired = {pair.low for pair in pairs if pair.slices and not pair.problem}
    yield from (pair for pair in pairs if pair.slices or pair.low not in paired)


def _pairs(rows: Sequence[ManifestRow], infos: Mapping[str, SeriesInfo], progress: Progress) -> Iterator[PairFacts]:
    """Yield every pair of series of both doses; the anatomy of some is compared."""
    pairs = pairs_of(rows)
    compared = set(spread(len(pairs), _COMPARED_PAIRS)) if pairs else set()
    for number, _low in enumerate(progress([low for low, _full in pairs], "comparing doses") if pairs else ()):
        low, full = pairs[number]
        slices, seen, problem = check_pair(low, full, infos, _COMPARED_SLICES if number in compared else 0)
        yield PairFacts(low.series, full.series, slices, problem, seen)
