"""Who is for training, validation and testing; which slices stand in which domain; which slices are pairs.

Everything here is a pure function of the manifest's rows, slice positions and a seed, and does not depend on the order
of the rows. What has to be drawn is drawn by a hash of seed and patient, so that a new patient leaves the others where
they are.
"""

import difflib
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ctcycle.data.manifest import ManifestRow
from ctcycle.data.pairs import paired_patients
from ctcycle.data.settings import DOSES, Split, SplitSettings
from ctcycle.errors import ManifestError


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
    order = sorted(paired, key=lambda patient: patient_draw(settings.seed, patient))
    shares = (settings.test_fraction, settings.val_fraction)
    tests, vals = (max(1, round(share * len(order))) if share else 0 for share in shares)
    held: dict[str, Split] = dict.fromkeys(order[:tests], "test")
    held |= dict.fromkeys(order[tests : tests + vals], "val")
    while held and not {row.dose for row in training if row.patient not in held}.issuperset(DOSES):
        held.popitem()
    return held


def patient_draw(seed: int, patient: str) -> int:
    """Return a number that depends only on the seed and the patient, so that a new patient moves no other."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{patient}".encode(), digest_size=8).digest())
