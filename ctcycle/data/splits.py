"""Assignment of patients to training, validation and testing.

The result depends only on the manifest rows and the seed, not on the order of the rows. Patients are drawn by a hash of
seed and patient, so that adding a patient does not move the others.
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
    """Return the rows, in the same order, with the split of each patient filled in.

    Patients named in the settings take precedence, then splits that rows already have (from their source or folder),
    then the fractions. The fractions take only patients with matching series of both doses, since only these can be
    evaluated. If training would lose a dose, validation gets fewer patients or none, then testing.

    Raises:
        ManifestError: the settings name a patient that does not exist, or rows of one patient have different splits.
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
                f"series {first.series} is in split {first.split!r}, but {row.series} of the same patient is in "
                f"{row.split!r}; name the patient in the split settings"
            )
    return {patient: row.split for patient, row in given.items()}


def _named_splits(patients: Sequence[str], settings: SplitSettings) -> dict[str, Split]:
    for name in settings.named:
        if name not in patients:
            close = difflib.get_close_matches(name, patients, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"found: {', '.join(patients[:10])}"
            raise ManifestError(f"split: no patient {name!r}; {hint}")
    named: dict[str, Split] = dict.fromkeys(settings.train, "train")
    return named | dict.fromkeys(settings.val, "val") | dict.fromkeys(settings.test, "test")


def _held_out(undecided: Collection[str], training: Sequence[ManifestRow], settings: SplitSettings) -> dict[str, Split]:
    """Draw the test patients, then the validation patients, from ``training``, the rows left for training."""
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
    """Return a number that depends only on the seed and the patient, so that new patients do not affect others."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{patient}".encode(errors="surrogatepass"), digest_size=8).digest())
