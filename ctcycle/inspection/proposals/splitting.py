"""Proposes the patients for training, validation and testing; patients that share pixels stay together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ctcycle.data.domains import UnpairedScheme, domains
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.pairs import row_pairs
from ctcycle.data.settings import DOSES, Split, SplitSettings
from ctcycle.data.splits import assign_splits
from ctcycle.errors import ManifestError
from ctcycle.inspection.copies import TWO_PATIENTS
from ctcycle.inspection.facts import Facts

VAL_FRACTION, TEST_FRACTION = 0.1, 0.2
_SCHEMES: tuple[UnpairedScheme, ...] = ("disjoint_patients", "disjoint_slices", "shuffled")


@dataclass(frozen=True)
class Part:
    """The content of one split.

    Attributes:
        patients: labels of its patients, sorted.
        low: its low-dose slices.
        full: its full-dose slices.
        pairs: its slices at both doses.
    """

    patients: tuple[str, ...]
    low: int
    full: int
    pairs: int


def propose_split(facts: Facts, rows: Sequence[ManifestRow]) -> dict[str, Split]:
    """Return the split of each patient.

    Args:
        facts: what was found, for patients that share pixels.
        rows: the series to train on, with their doses; series that are paired wrongly left out.

    Raises:
        ManifestError: folder names put a patient into two splits.
    """
    together = _together(facts, {row.patient for row in rows})
    merged = [replace(row, patient=together[row.patient]) for row in rows]
    assigned = assign_splits(merged, SplitSettings(val_fraction=VAL_FRACTION, test_fraction=TEST_FRACTION))
    splits = {row.patient: row.split for row in assigned}
    return {patient: splits[first] for patient, first in together.items() if first in splits}


def _together(facts: Facts, patients: Collection[str]) -> dict[str, str]:
    """Return for each patient the first of those that share pixels with it."""
    first = {patient: patient for patient in patients}
    for copies in facts.copies:
        if copies.kind == TWO_PATIENTS:
            one, other = (facts.of(name).row.patient for name in (copies.first, copies.second))
            if one in first and other in first:
                old, new = sorted((first[one], first[other]), reverse=True)
                first = {patient: new if group == old else group for patient, group in first.items()}
    return first


def parts(facts: Facts, rows: Sequence[ManifestRow], splits: Mapping[str, Split]) -> dict[Split, Part]:
    """Return what each split would contain."""
    slices = {(pair.low, pair.full): 0 if pair.problem else pair.slices for pair in facts.pairs}
    found: dict[Split, Part] = {}
    names: tuple[Split, ...] = ("train", "val", "test")
    for split in names:
        own = [row for row in rows if splits.get(row.patient) == split]
        paired = {low.series: slices.get((low.series, full.series), 0) for low, full in row_pairs(own)}
        low, full = (sum(row.slices for row in own if row.dose == dose) for dose in DOSES)
        found[split] = Part(tuple(sorted({row.patient for row in own})), low, full, sum(paired.values()))
    return found


def scheme_for(facts: Facts, rows: Sequence[ManifestRow]) -> UnpairedScheme | None:
    """Return the strictest scheme under which training without pairs has both domains; None if none has.

    Args:
        facts: what was found, for the positions of slices.
        rows: the training series.
    """
    positions = {one.row.series: one.info.positions_mm for one in facts.series}
    low, full = ([row for row in rows if row.dose == dose] for dose in DOSES)
    for scheme in _SCHEMES:
        try:
            domains(low, full, scheme, 0, lambda row: positions[row.series])
        except ManifestError:
            continue
        return scheme
    return None
