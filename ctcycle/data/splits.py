"""Who is for training, validation and testing; which slices stand in which domain; which slices are pairs.

Everything here is a pure function of the manifest's rows, slice positions and a seed, and does not depend on the order
of the rows. What has to be drawn is drawn by a hash of seed and patient, so that a new patient leaves the others where
they are.
"""

import difflib
import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from ctcycle.data.manifest import ManifestRow
from ctcycle.data.settings import Split, SplitSettings
from ctcycle.errors import ManifestError

Protocol = Literal["shuffled", "disjoint_slices", "disjoint_patients"]
"""How two domains are made of patients that have both doses."""

Positions = Callable[[ManifestRow], Sequence[float]]
"""Gives the slice positions of a series in mm, or its slice numbers where the format has no positions."""

BLOCK_SLICES = 10
"""About so many slices follow each other in one domain under ``disjoint_slices``."""

_DOSES = ("low_dose", "full_dose")

MATCH_MM = 0.5
"""Slices further apart than this never show the same anatomy."""


class SliceRef(NamedTuple):
    """One slice: the ``series`` column of its row, and where in the series it is."""

    series: str
    slice_index: int


class Domains(NamedTuple):
    """The slices that unpaired training draws from."""

    low_dose: list[SliceRef]
    full_dose: list[SliceRef]


class SlicePair(NamedTuple):
    """Two slices that show the same anatomy."""

    low_dose: SliceRef
    full_dose: SliceRef


def assign_splits(rows: Sequence[ManifestRow], settings: SplitSettings) -> list[ManifestRow]:
    """The rows, in their order, with the split of each patient filled in.

    The settings' names come first, then splits that rows have already (by their source or folder), then the fractions;
    these take only patients with matching series of both doses, since no others can be evaluated. Where so few would be
    left that training lost a dose, validation gets fewer or none, then testing.

    Raises:
        ManifestError: the settings name a patient that does not exist, or rows of a patient disagree.
    """
    patients = sorted({row.patient for row in rows})
    splits = _given_splits(rows) | _named_splits(patients, settings)
    undecided = [patient for patient in patients if patient not in splits]
    if settings.train:
        splits |= dict.fromkeys(undecided, "")
    else:
        training = [row for row in rows if splits.get(row.patient, "train") == "train"]
        splits |= dict.fromkeys(undecided, "train")
        splits |= _held_out(undecided, training, settings)
    return [replace(row, split=splits[row.patient]) for row in rows]


def paired_patients(rows: Iterable[ManifestRow]) -> set[str]:
    """The patients that have series of both doses that belong together."""
    return {low.patient for low, _ in _row_pairs(rows)}


def domains(
    low: Sequence[ManifestRow], full: Sequence[ManifestRow], protocol: Protocol, seed: int, positions: Positions
) -> Domains:
    """The slices of the two domains of unpaired training.

    Args:
        low: the low-dose series.
        full: the full-dose series.
        protocol: ``shuffled``: all slices of both. ``disjoint_patients``: each patient with both doses stands in one
            domain only, the domains balanced in slices. ``disjoint_slices``: each position in such a patient stands in
            one domain only, in alternating blocks of about ten slices; not slice by slice, since neighbours show nearly
            the same anatomy. Patients with one dose stay where they are.
        seed: chooses who or what comes first.
        positions: asked under ``disjoint_slices``, for patients with both doses.

    Raises:
        ManifestError: a domain is empty, or positions of one patient cannot be compared.
    """
    low, full = (sorted(side, key=lambda row: row.series) for side in (low, full))
    for side, name in ((low, "low_dose"), (full, "full_dose")):
        if not side:
            raise ManifestError(
                f"training needs both domains: no {name} series is chosen; set the columns dose and split of "
                "data.manifest so that some are in split train, and data.kernel to a kernel that both doses have"
            )
    if protocol == "disjoint_slices":
        found = _slices_apart(low, full, seed, positions)
    elif protocol == "disjoint_patients":
        found = _patients_apart(low, full, seed)
    else:
        found = Domains(_all_slices(low), _all_slices(full))
    if not (found.low_dose and found.full_dose):
        raise ManifestError(_empty_domain(low, full, protocol, found))
    return found


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


def _given_splits(rows: Iterable[ManifestRow]) -> dict[str, Split]:
    given: dict[str, ManifestRow] = {}
    for row in sorted((row for row in rows if row.split), key=lambda row: row.series):
        first = given.setdefault(row.patient, row)
        if first.split != row.split:
            raise ManifestError(
                f"series {first.series} is in split {first.split!r} and {row.series} of the same patient in "
                f"{row.split!r}; give the patient's split in the settings"
            )
    return {patient: row.split for patient, row in given.items()}


def _named_splits(patients: Sequence[str], settings: SplitSettings) -> dict[str, Split]:
    for name in settings.named:
        if name not in patients:
            close = difflib.get_close_matches(name, patients, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(patients[:10])}"
            raise ManifestError(f"split: no patient {name!r}; {hint}")
    named: dict[str, Split] = dict.fromkeys(settings.train, "train")
    return named | dict.fromkeys(settings.val, "val") | dict.fromkeys(settings.test, "test")


def _held_out(undecided: Collection[str], training: Sequence[ManifestRow], settings: SplitSettings) -> dict[str, Split]:
    """Test patients first, then validation; ``training`` has the rows that would all train without them."""
    paired = paired_patients(training).intersection(undecided)
    order = sorted(paired, key=lambda patient: _draw(settings.seed, patient))
    shares = (settings.test_fraction, settings.val_fraction)
    tests, vals = (max(1, round(share * len(order))) if share else 0 for share in shares)
    held: dict[str, Split] = dict.fromkeys(order[:tests], "test")
    held |= dict.fromkeys(order[tests : tests + vals], "val")
    while held and not {row.dose for row in training if row.patient not in held}.issuperset(_DOSES):
        held.popitem()
    return held


def _draw(seed: int, patient: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{patient}".encode(), digest_size=8).digest())


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


def _all_slices(rows: Iterable[ManifestRow]) -> list[SliceRef]:
    return [SliceRef(row.series, index) for row in rows for index in range(row.slices)]


def _patients_apart(low: Sequence[ManifestRow], full: Sequence[ManifestRow], seed: int) -> Domains:
    """The patient with most slices first, each to the domain that is shorter so far."""
    sizes = {name: _slices_by_patient(rows) for name, rows in (("low", low), ("full", full))}
    both = sizes["low"].keys() & sizes["full"].keys()
    totals = {name: sum(n for patient, n in by.items() if patient not in both) for name, by in sizes.items()}
    dropped: dict[str, set[str]] = {"low": set(), "full": set()}
    largest = sorted(both, key=lambda patient: (-max(by[patient] for by in sizes.values()), _draw(seed, patient)))
    for patient in largest:
        to_low = (totals["low"], _draw(seed, patient) % 2) < (totals["full"], 1)
        side, other = ("low", "full") if to_low else ("full", "low")
        totals[side] += sizes[side][patient]
        dropped[other].add(patient)
    return Domains(
        _all_slices(row for row in low if row.patient not in dropped["low"]),
        _all_slices(row for row in full if row.patient not in dropped["full"]),
    )


def _slices_by_patient(rows: Iterable[ManifestRow]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.patient] += row.slices
    return counts


def _slices_apart(low: Sequence[ManifestRow], full: Sequence[ManifestRow], seed: int, positions: Positions) -> Domains:
    both = {row.patient for row in low} & {row.patient for row in full}
    shared = [row for row in (*low, *full) if row.patient in both]
    places = {row.series: np.asarray(positions(row), dtype=float) for row in shared}
    edges = {patient: _block_edges([row for row in shared if row.patient == patient], places) for patient in both}

    def chosen(rows: Sequence[ManifestRow], parity: int) -> list[SliceRef]:
        found = []
        for row in rows:
            if row.patient in both:
                block = np.searchsorted(edges[row.patient], places[row.series]) + _draw(seed, row.patient) % 2
                found += [SliceRef(row.series, int(index)) for index in np.flatnonzero(block % 2 == parity)]
            else:
                found += _all_slices([row])
        return found

    return Domains(chosen(low, 0), chosen(full, 1))


def _block_edges(rows: Sequence[ManifestRow], places: Mapping[str, np.ndarray]) -> list[float]:
    """Positions that cut what both doses of a patient show into an even number of blocks.

    Each cut lies in the widest gap near its ideal place, since the two doses of one slice may lie some hundredths of a
    millimetre apart.
    """
    if len({row.format == "npy" for row in rows}) > 1:
        raise ManifestError(
            f"series {rows[0].series} and others of its patient: slice numbers (npy) and positions cannot be compared; "
            "use protocol disjoint_patients, or one format"
        )
    doses = [np.concatenate([places[row.series] for row in rows if row.dose == dose]) for dose in _DOSES]
    first, last = max(dose.min() for dose in doses), min(dose.max() for dose in doses)
    ends = np.unique(np.round(np.concatenate(doses).clip(first, last), 1))
    gaps = np.round(np.diff(ends), 1).tolist()
    longest = max(np.count_nonzero((first <= places[row.series]) & (places[row.series] <= last)) for row in rows)
    blocks = 2 * max(1, round(longest / (2 * BLOCK_SLICES)))
    edges = []
    for block in range(1, blocks) if gaps else ():
        index = _widest_gap(gaps, round(block * len(ends) / blocks) - 1)
        edges.append(float(ends[index] + ends[index + 1]) / 2)
    return edges


def _widest_gap(gaps: Sequence[float], ideal: int) -> int:
    """Index of the widest gap at the ideal place or beside it; the ideal one if none is wider."""
    near = range(max(0, ideal - 1), min(len(gaps), ideal + 2))
    return max(near, key=lambda place: (gaps[place], place == ideal))


def _empty_domain(low: Sequence[ManifestRow], full: Sequence[ManifestRow], protocol: Protocol, found: Domains) -> str:
    both = len({row.patient for row in low} & {row.patient for row in full})
    others = "disjoint_slices or shuffled" if protocol == "disjoint_patients" else "shuffled"
    count = "1 patient has" if both == 1 else f"{both} patients have"
    side = "full_dose" if found.low_dose else "low_dose"
    return (
        f"data.protocol {protocol} leaves no {side} slice: {count} both doses; set data.protocol to {others}, "
        "or train on more patients"
    )
