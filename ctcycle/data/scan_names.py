"""What the names of files and folders say about a series: dose, patient, thickness, kernel, split.

Names below the path of the source are searched from the innermost outwards, and the name of that path last:

- Mayo 2016 challenge: ``L096_FD_3mm_D45f_0021.IMA``, folders such as ``L067/quarter_3mm``;
- LDCT-and-Projection-data (TCIA): ``L004/.../1.000000-Low Dose Images-.../1-001.dcm``;
- any ``<patient>/<dose>/``, ``<dose>/<patient>/`` or ``<dose>/``, where the dose is spelt out (``low_dose``,
  ``full dose CT``) or is the whole name (``quarter``, ``ld``, ``full``, ``nd``, but not ``full_body``); volumes such as
  ``case1_full.nii``; folders named ``train``, ``val`` or ``test`` set the split.

A PatientID is hashed and never written.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ctcycle.ct.series import SeriesInfo
from ctcycle.data.settings import Dose, Source, Split
from ctcycle.errors import ManifestError


def _dose_names(levels: str, names: str) -> re.Pattern[str]:
    """Return a pattern for dose names: a level with "dose", a short name alone, or one as in Mayo and volume names."""
    no_negation = "".join(rf"(?<!(?<![a-z]){word}[-_ ])" for word in ("no", "non", "not", "without"))
    dose = rf"{no_negation}(?:{levels})[-_ ]?dose(?![a-z0-9])"
    mayo = rf"(?:{names})_\d+(?:\.\d+)?mm(?![a-z])|(?<=^[CLN]\d{{3}}_)(?:{names})(?=_)"
    alone = rf"^(?:{names})(?=\.|$)|(?<=[-_ ])(?:{names})(?=\.(?:nii|npy))"
    return re.compile(rf"(?<![a-z0-9])(?:{dose}|{mayo}|{alone})", re.IGNORECASE)


_LOW = _dose_names("low|quarter|half|reduced", "low|quarter|qd|ld|ldct")
_QUARTER = _dose_names("quarter", "quarter|qd")
_FULL = _dose_names("full|normal|routine|standard", "full|fd|nd|ndct")
MAYO = re.compile(r"^[CLN]\d{3}(?![A-Za-z0-9])")
_TCIA = re.compile(r"(?:full|low) dose images", re.IGNORECASE)
SPLITS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
THICKNESS = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)[-_ ]?mm(?![a-z])", re.IGNORECASE)
KERNEL = re.compile(r"(?<![A-Za-z0-9])[BDHIJ][rvfs]?\d{2}[a-z]?(?![A-Za-z0-9])")
_NOBODY = re.compile(r"|.*anonym.*|.*de-?identif.*|unknown|none|n/?a|patient|removed|[0x*-]+", re.IGNORECASE)


def names_of(info: SeriesInfo, root: Path) -> list[str]:
    """Return the names to search: the file, then its folders from the innermost outwards, then the source.

    If the source itself is named after a dose, the name of its parent folder is added.
    """
    below = info.files[0].absolute().relative_to(root.absolute()).parts
    source = root.resolve()
    top = [source.name, source.parent.name] if below and dose_of([source.name]) else [source.name]
    return [*reversed(below), *top]


def first(pattern: re.Pattern[str], parts: Sequence[str], group: int = 0) -> str:
    """Return what a pattern, or a group of it, finds in the first name that contains it; empty if none does."""
    return next((match.group(group) for part in parts if (match := pattern.search(part))), "")


def dose_of(parts: Sequence[str]) -> Dose:
    """Return the dose given by the innermost name that refers to exactly one dose; empty if there is none."""
    for part in parts:
        low, full = _LOW.search(part), _FULL.search(part)
        if bool(low) != bool(full):
            return "low_dose" if low else "full_dose"
    return ""


def dose_fraction(dose: Dose, source: Source, parts: Sequence[str]) -> float | None:
    """Return the dose as a fraction of the full dose, in (0, 1], from the source or the names; None if unknown."""
    if dose != "low_dose":
        return 1.0 if dose else None
    if source.dose_fraction is not None:
        return source.dose_fraction
    if first(_TCIA, parts):  # abdomen (L) and head (N) at a quarter, chest (C) at a tenth
        return 0.1 if first(MAYO, parts).startswith("C") else 0.25
    return 0.25 if first(_QUARTER, parts) else None


def patient_of(info: SeriesInfo, source: Source, parts: Sequence[str], salt: str) -> str:
    """Return a patient's name: from the pattern of the source, known folder names, the hashed PatientID, or a folder.

    Args:
        info: the series; without its PatientID if that stands for several people, see `ids_of_several`.
        source: the source that it was found in.
        parts: from `names_of`.
        salt: added to the PatientID before hashing.

    Raises:
        ManifestError: the pattern of the source does not match.
    """
    if source.patient:
        return _patient_by_pattern(info, source)
    above, below = _around_dose(parts[1:-1])
    patient = first(MAYO, parts) or (above if not below else "")
    if patient:
        return patient
    if not _NOBODY.fullmatch(info.patient_id.strip()):
        text = f"{salt}\0{info.patient_id.strip()}"  # a salt from the environment may be any bytes
        return "p-" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:10]
    return (
        above or below or next((part for part in reversed(parts[1:-1]) if not dose_of([part])), _own_name(info, parts))
    )


def ids_of_several(found: Sequence[SeriesInfo], source: Source) -> dict[str, int]:
    """Return the PatientIDs that stand for several people, with the number of folders, as after crude anonymisation.

    Such an ID occurs in several folders that would name the patient without it. Each of them has its own studies and
    frames of reference, and together they are at least half of all such folders in the source. An ID of few folders
    among many is that of a patient who was scanned again.

    Args:
        found: the series of the source.
        source: the source.
    """
    if source.patient:
        return {}
    named = [
        (info, patient_of(replace(info, patient_id=""), source, names_of(info, source.path), "")) for info in found
    ]
    folders: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for info, name in named:
        if not _NOBODY.fullmatch(info.patient_id.strip()):
            folders[info.patient_id][name] |= {f"study {info.study_uid}", f"frame {info.frame_uid}"}
    most = len({name for _, name in named})
    return {
        patient: len(own) for patient, own in folders.items() if 1 < len(own) >= most / 2 and _apart(list(own.values()))
    }


def _apart(sets: Sequence[set[str]]) -> bool:
    """Return whether sets of identifiers have nothing in common, and none of them lacks one."""
    known = not any({"study ", "frame "} & one for one in sets)
    return known and sum(map(len, sets)) == len(set().union(*sets))


def _own_name(info: SeriesInfo, parts: Sequence[str]) -> str:
    """Return a patient name when no folder gives one: the file name without its dose; for slices, the source name."""
    if info.files != (info.path,):
        return parts[-1]
    name = _FULL.sub("", _LOW.sub("", info.path.name)).partition(".")[0]
    return name.strip("-_ ") or info.path.name.partition(".")[0]


def _patient_by_pattern(info: SeriesInfo, source: Source) -> str:
    relative = info.files[0].absolute().relative_to(source.path.absolute()).as_posix()
    match = re.search(source.patient, relative)
    patient = (match[1] if match.re.groups else match[0]) if match else ""
    if not patient:
        raise ManifestError(
            f"source {source.path}: patient={source.patient} does not match {relative!r}; correct the pattern"
        )
    return patient


def _around_dose(folders: Sequence[str]) -> tuple[str, str]:
    """Return the nearest folders above and below the dose folder that may name the patient; empty if there are none.

    ``<patient>/<dose>/`` is unambiguous; with folders below the dose folder, either may be the patient.
    """
    at = next((index for index, folder in enumerate(folders) if dose_of([folder])), len(folders))
    sides = (folders[at + 1 :], folders[:at][::-1] if at < len(folders) else ())
    above, below = (next((folder for folder in side if not _is_other_name(folder)), "") for side in sides)
    return above, below


def _is_other_name(folder: str) -> bool:
    """Return whether a folder is named after its split, slice thickness or kernel."""
    return folder.lower() in SPLITS or bool(THICKNESS.search(folder) or KERNEL.fullmatch(folder))
