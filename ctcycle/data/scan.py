"""Indexing of CT folders: finds the series and derives the patient, dose and split of each.

Values set for a source take precedence, then known folder and file names, then the header. Names below the path of the
source are searched from the innermost outwards, and the name of that path last:

- Mayo 2016 challenge: ``L096_FD_3mm_D45f_0021.IMA``, folders such as ``L067/quarter_3mm``;
- LDCT-and-Projection-data (TCIA): ``L004/.../1.000000-Low Dose Images-.../1-001.dcm``;
- any ``<patient>/<dose>/``, ``<dose>/<patient>/`` or ``<dose>/``, where the dose is spelt out (``low_dose``,
  ``full dose CT``) or is the whole name (``quarter``, ``ld``, ``full``, ``nd``, but not ``full_body``); volumes such as
  ``case1_full.nii``; folders named ``train``, ``val`` or ``test`` set the split.

A PatientID is hashed and never written.
"""

import csv
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctcycle.atomic import write_text
from ctcycle.ct import series_io
from ctcycle.ct.series import SeriesInfo, Skipped, series_uid
from ctcycle.data.manifest import Manifest, ManifestRow, series_name, stored_path, survives
from ctcycle.data.pairs import paired_patients
from ctcycle.data.settings import DOSES, Dose, Source, Split, SplitSettings
from ctcycle.data.splits import assign_splits
from ctcycle.errors import ManifestError, SeriesError


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
_MAYO = re.compile(r"^[CLN]\d{3}(?![A-Za-z0-9])")
_TCIA = re.compile(r"(?:full|low) dose images", re.IGNORECASE)
_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_THICKNESS = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)[-_ ]?mm(?![a-z])", re.IGNORECASE)
_KERNEL = re.compile(r"(?<![A-Za-z0-9])[BDHIJ][rvfs]?\d{2}[a-z]?(?![A-Za-z0-9])")
_NOBODY = re.compile(r"|.*anonym.*|.*de-?identif.*|unknown|none|n/?a|patient|removed|[0x*-]+", re.IGNORECASE)


@dataclass(frozen=True)
class ScanReport:
    """The result of a scan.

    Attributes:
        manifest: the series; not written yet.
        skipped: the skipped files and series, with reasons.
        notes: messages for the user about how patients were identified and split.
    """

    manifest: Manifest
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundSeries:
    """The series found in the sources, before patients are assigned to splits.

    Attributes:
        rows: the manifest row of each series; ``split`` is set only if a source or a folder name gives it.
        skipped: the skipped files and series, with reasons.
        guessed: the doses of each patient identified only by a folder or file name.
    """

    rows: tuple[ManifestRow, ...]
    skipped: tuple[Skipped, ...]
    guessed: Mapping[str, Collection[Dose]]


def scan_sources(
    sources: Sequence[Source],
    manifest_path: Path,
    split: SplitSettings,
    *,
    salt: str = "",
    progress: Callable[[Path], object] | None = None,
) -> ScanReport:
    """Find all series of the sources and split their patients; pixels are not decoded and nothing is written.

    Args:
        sources: see `find_rows`.
        manifest_path: path of the future manifest; its paths are relative to the folder of this file.
        split: the patients for training, validation and testing.
        salt: see `find_rows`.
        progress: called with each image file before its header is read.

    Raises:
        SeriesError: a source does not exist or holds no CT; the message has one line per source.
        ManifestError: the split is impossible.
    """
    found = find_rows(sources, manifest_path.parent, salt=salt, progress=progress)
    rows = sorted(assign_splits(found.rows, split), key=lambda row: (row.patient, row.path, row.uid))
    notes = (*_matched_by_name(found.guessed), *_empty_fractions(rows, split))
    return ScanReport(Manifest(manifest_path, tuple(rows)), found.skipped, notes)


def find_rows(
    sources: Sequence[Source],
    root: Path,
    *,
    salt: str = "",
    progress: Callable[[Path], object] | None = None,
) -> FoundSeries:
    """Return the manifest rows of all series of the sources, before patients are split.

    Args:
        sources: the folders to search; a series found in two sources belongs to the first.
        root: the folder that the paths of the rows are relative to.
        salt: added to each PatientID before hashing. Without it, a known ID can be matched to its hash; with it,
            patient names are the same only for the same salt.
        progress: called with each image file before its header is read.

    Raises:
        SeriesError: a source does not exist or holds no CT; the message has one line per source.
    """
    rows: dict[str, ManifestRow] = {}
    skipped: list[Skipped] = []
    problems: list[str] = []
    guessed: dict[str, set[Dose]] = defaultdict(set)
    for source in sources:
        infos, left_out = series_io.find_series(source.path, progress=progress) if source.path.exists() else ([], [])
        skipped += left_out
        if not infos:
            problems.append(_nothing_found(source.path, left_out))
        for info in infos:
            row = _describe(info, source, root, salt)
            if reason := _not_listed(info, row):
                skipped.append(Skipped(info.path, reason, refused=True))
                continue
            if row.series in rows:
                skipped.append(Skipped(info.path, "series already found in an earlier source"))
                continue
            rows[row.series] = row
            if not (source.patient or row.patient.startswith("p-") or _MAYO.match(row.patient)):
                guessed[row.patient].add(source.dose)
    if problems:
        raise SeriesError("\n".join(problems))
    return FoundSeries(tuple(rows.values()), tuple(skipped), guessed)


def _not_listed(info: SeriesInfo, row: ManifestRow) -> str:
    """Return why a series cannot be listed in a manifest; empty if it can."""
    if not info.is_volume:
        return info.notes[0] if info.notes else "several images at one position; separate them"
    if info.made_by in {"residual", "uncertainty"}:
        return f"a map of ctcycle ({info.made_by}), not CT"
    return "" if survives(row) else "a name in its path starts or ends with a blank, or holds a line break; rename it"


def write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    """Write the skipped files and series to a CSV file with the columns path and reason, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows([("path", "reason"), *((s.path, s.reason) for s in skipped)])
    write_text(path, stream.getvalue())


def _matched_by_name(guessed: Mapping[str, Collection[Dose]]) -> Iterator[str]:
    both = sorted(patient for patient, doses in guessed.items() if set(DOSES).issubset(doses))
    if both:
        names = ", ".join([*both[:10], "..."] if len(both) > 10 else both)
        who = f"patient {names} has" if len(both) == 1 else f"patients {names} have"
        yield (
            f"{who} both doses, matched by folder or file name only; if these are different people, "
            "edit the column 'patient'"
        )


def _empty_fractions(rows: Sequence[ManifestRow], settings: SplitSettings) -> Iterator[str]:
    paired = len(paired_patients(rows))
    for split, fraction in (("val", settings.val_fraction), ("test", settings.test_fraction)):
        if fraction and not settings.train and not any(row.split == split for row in rows):
            only = f"only patients with matching series of both doses ({paired} found) that training can spare"
            yield f"split.{split}_fraction={fraction:g} selected no one: {only} are eligible"


def _nothing_found(root: Path, skipped: Sequence[Skipped]) -> str:
    if not root.exists():
        return f"{root}: does not exist; give the folder that contains the scans"
    files = sum(path.is_file() for path in root.rglob("*")) if root.is_dir() else 1
    reasons = Counter(item.reason for item in skipped).most_common(1)
    times = f"{reasons[0][1]} x " if reasons and reasons[0][1] > 1 else ""
    why = f"{times}{reasons[0][0]}" if reasons else "supported formats are DICOM, NIfTI and npy"
    return f"no CT found in {root} ({files} {'file' if files == 1 else 'files'} checked); {why}"


def _describe(info: SeriesInfo, source: Source, root: Path, salt: str) -> ManifestRow:
    parts = _names(info, source.path)
    dose = source.dose or _dose(parts)
    path, uid = stored_path(info.path, root), series_uid(info)
    return ManifestRow(
        series=series_name(info.format, path, uid),
        patient=" ".join(_patient(info, source, parts, salt).split()) or series_name(info.format, path, uid),
        dose=dose,
        dose_fraction=_dose_fraction(dose, source, parts),
        kernel=" ".join(info.kernel.split())[:64].strip() or _first(_KERNEL, parts),
        thickness_mm=_length(info.thickness_mm) or _length(float(_first(_THICKNESS, parts, 1) or 0)),
        spacing_mm=_length(info.spacing_mm[2]),
        rows=info.shape[1],
        columns=info.shape[2],
        slices=info.shape[0],
        split=source.split or next((_SPLITS[part.lower()] for part in parts if part.lower() in _SPLITS), ""),
        format=info.format,
        path=path,
        uid=uid,
    )


def _length(value: float) -> float:
    """Return a length in mm that a manifest accepts; 0.0 (unknown) for any other number."""
    return value if 0 < value < float("inf") else 0.0


def _names(info: SeriesInfo, root: Path) -> list[str]:
    """Return the names to search: the file, then its folders from the innermost outwards, then the source.

    If the source itself is named after a dose, the name of its parent folder is added.
    """
    below = info.files[0].absolute().relative_to(root.absolute()).parts
    source = root.resolve()
    top = [source.name, source.parent.name] if below and _dose([source.name]) else [source.name]
    return [*reversed(below), *top]


def _first(pattern: re.Pattern[str], parts: Sequence[str], group: int = 0) -> str:
    return next((match.group(group) for part in parts if (match := pattern.search(part))), "")


def _dose(parts: Sequence[str]) -> Dose:
    """Return the dose given by the innermost name that refers to exactly one dose; empty if there is none."""
    for part in parts:
        low, full = _LOW.search(part), _FULL.search(part)
        if bool(low) != bool(full):
            return "low_dose" if low else "full_dose"
    return ""


def _dose_fraction(dose: Dose, source: Source, parts: Sequence[str]) -> float | None:
    if dose != "low_dose":
        return 1.0 if dose else None
    if source.dose_fraction is not None:
        return source.dose_fraction
    if _first(_TCIA, parts):  # abdomen (L) and head (N) at a quarter, chest (C) at a tenth
        return 0.1 if _first(_MAYO, parts).startswith("C") else 0.25
    return 0.25 if _first(_QUARTER, parts) else None


def _patient(info: SeriesInfo, source: Source, parts: list[str], salt: str) -> str:
    if source.patient:
        return _patient_by_pattern(info, source)
    above, below = _around_dose(parts[1:-1])
    patient = _first(_MAYO, parts) or (above if not below else "")
    if patient:
        return patient
    if not _NOBODY.fullmatch(info.patient_id.strip()):
        return "p-" + hashlib.sha256(f"{salt}\0{info.patient_id.strip()}".encode()).hexdigest()[:10]
    return above or below or next((part for part in reversed(parts[1:-1]) if not _dose([part])), _own_name(info, parts))


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
    at = next((index for index, folder in enumerate(folders) if _dose([folder])), len(folders))
    sides = (folders[at + 1 :], folders[:at][::-1] if at < len(folders) else ())
    above, below = (next((folder for folder in side if not _is_other_name(folder)), "") for side in sides)
    return above, below


def _is_other_name(folder: str) -> bool:
    """Return whether a folder is named after its split, slice thickness or kernel."""
    return folder.lower() in _SPLITS or bool(_THICKNESS.search(folder) or _KERNEL.fullmatch(folder))
