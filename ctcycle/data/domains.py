"""The two domains of unpaired training: the slices drawn as low dose and those drawn as full dose."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from ctcycle.data.manifest import ManifestRow
from ctcycle.data.pairs import Positions, SliceRef
from ctcycle.data.settings import DOSES
from ctcycle.data.splits import patient_draw
from ctcycle.errors import ManifestError

UnpairedScheme = Literal["shuffled", "disjoint_slices", "disjoint_patients"]
"""How patients with both doses are divided between the two domains."""


BLOCK_SLICES = 10
"""Approximate number of consecutive slices per domain under ``disjoint_slices``."""


class Domains(NamedTuple):
    """The slices that unpaired training draws from."""

    low_dose: list[SliceRef]
    full_dose: list[SliceRef]


def domains(
    low: Sequence[ManifestRow], full: Sequence[ManifestRow], protocol: UnpairedScheme, seed: int, positions: Positions
) -> Domains:
    """Return the slices of the two domains of unpaired training.

    Args:
        low: the low-dose series.
        full: the full-dose series.
        protocol: ``shuffled``: all slices of both doses. ``disjoint_patients``: each patient with both doses is used in
            only one domain, with the domains balanced by number of slices. ``disjoint_slices``: each position in such a
            patient is used in only one domain, in alternating blocks of about ten slices, since adjacent slices show
            nearly the same anatomy. Patients with one dose keep their domain.
        seed: decides ties and which domain gets the first block.
        positions: returns the slice positions of a series; called only under ``disjoint_slices``, for patients with
            both doses.

    Raises:
        ManifestError: a domain is empty, or positions of one patient cannot be compared.
    """
    low, full = (sorted(side, key=lambda row: row.series) for side in (low, full))
    for side, name in ((low, "low_dose"), (full, "full_dose")):
        if not side:
            raise ManifestError(
                f"training needs both domains, but no {name} series is selected; set the columns dose and split of "
                "data.manifest so that some are in split train, and data.kernel to a kernel available at both doses"
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


def _all_slices(rows: Iterable[ManifestRow]) -> list[SliceRef]:
    return [SliceRef(row.series, index) for row in rows for index in range(row.slices)]


def _patients_apart(low: Sequence[ManifestRow], full: Sequence[ManifestRow], seed: int) -> Domains:
    """Assign patients with both doses to the domain with fewer slices so far, starting with the largest patient."""
    sizes = {name: _slices_by_patient(rows) for name, rows in (("low", low), ("full", full))}
    both = sizes["low"].keys() & sizes["full"].keys()
    totals = {name: sum(n for patient, n in by.items() if patient not in both) for name, by in sizes.items()}
    dropped: dict[str, set[str]] = {"low": set(), "full": set()}
    largest = sorted(
        both, key=lambda patient: (-max(by[patient] for by in sizes.values()), patient_draw(seed, patient))
    )
    for patient in largest:
        to_low = (totals["low"], patient_draw(seed, patient) % 2) < (totals["full"], 1)
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
    row_positions = {row.series: np.asarray(positions(row), dtype=float) for row in shared}
    of_patient: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in shared:
        of_patient[row.patient].append(row)
    edges = {patient: _block_edges(rows, row_positions) for patient, rows in of_patient.items()}

    def chosen(rows: Sequence[ManifestRow], parity: int) -> list[SliceRef]:
        found = []
        for row in rows:
            if row.patient in both:
                block = (
                    np.searchsorted(edges[row.patient], row_positions[row.series]) + patient_draw(seed, row.patient) % 2
                )
                found += [SliceRef(row.series, int(index)) for index in np.flatnonzero(block % 2 == parity)]
            else:
                found += _all_slices([row])
        return found

    return Domains(chosen(low, 0), chosen(full, 1))


def _block_edges(rows: Sequence[ManifestRow], row_positions: Mapping[str, np.ndarray]) -> list[float]:
    """Return the positions that divide the range covered by both doses of a patient into an even number of blocks.

    Each edge is placed in the widest gap near its ideal position, since the two doses of one slice may differ by some
    hundredths of a millimetre.
    """
    if len({row.format == "npy" for row in rows}) > 1:
        raise ManifestError(
            f"series {rows[0].series} and others of its patient: slice numbers (npy) and positions in mm cannot be "
            "compared; set data.protocol=disjoint_patients, or use one format"
        )
    doses = [np.concatenate([row_positions[row.series] for row in rows if row.dose == dose]) for dose in DOSES]
    first, last = max(dose.min() for dose in doses), min(dose.max() for dose in doses)
    ends = np.unique(np.round(np.concatenate(doses).clip(first, last), 1))
    gaps = np.round(np.diff(ends), 1).tolist()
    longest = max(
        np.count_nonzero((first <= row_positions[row.series]) & (row_positions[row.series] <= last)) for row in rows
    )
    blocks = 2 * max(1, round(longest / (2 * BLOCK_SLICES)))
    edges = []
    for block in range(1, blocks) if gaps else ():
        index = _widest_gap(gaps, round(block * len(ends) / blocks) - 1)
        edges.append(float(ends[index] + ends[index + 1]) / 2)
    return edges


def _widest_gap(gaps: Sequence[float], ideal: int) -> int:
    """Return the index of the widest gap at or next to the ideal index; the ideal index if none is wider."""
    near = range(max(0, ideal - 1), min(len(gaps), ideal + 2))
    return max(near, key=lambda index: (gaps[index], index == ideal))


def _empty_domain(
    low: Sequence[ManifestRow], full: Sequence[ManifestRow], protocol: UnpairedScheme, found: Domains
) -> str:
    both = len({row.patient for row in low} & {row.patient for row in full})
    others = "disjoint_slices or shuffled" if protocol == "disjoint_patients" else "shuffled"
    count = "1 patient has" if both == 1 else f"{both} patients have"
    side = "full_dose" if found.low_dose else "low_dose"
    return (
        f"data.protocol={protocol} leaves no {side} slices, since {count} both doses; set data.protocol to {others}, "
        "or train on more patients"
    )
