"""Indexing of CT folders: finds the series, derives patient, dose and split of each, and measures their noise.

Values set for a source take precedence, then known folder and file names (`ctcycle.data.scan_names`), then the header.
"""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ctcycle.atomic import write_text
from ctcycle.ct import series_io
from ctcycle.ct.series import SeriesInfo, Skipped, series_uid
from ctcycle.data.manifest import Manifest, ManifestRow, series_name, stored_path, survives
from ctcycle.data.pairs import paired_patients
from ctcycle.data.scan_names import (
    KERNEL,
    MAYO,
    SPLITS,
    THICKNESS,
    dose_fraction,
    dose_of,
    first,
    ids_of_several,
    names_of,
    patient_of,
)
from ctcycle.data.scan_noise import Measured, contradictions, measure
from ctcycle.data.settings import DOSES, Dose, Source, SplitSettings
from ctcycle.data.splits import assign_splits
from ctcycle.errors import SeriesError, is_text, one_line


@dataclass(frozen=True)
class ScanReport:
    """The result of a scan.

    Attributes:
        manifest: the series; not written yet.
        skipped: the skipped files and series, with reasons.
        notes: messages for the user about how patients were identified and split, and about their doses.
        noise_hu: noise of each series in HU, by its name in the manifest; NaN if it has too little soft tissue.
        found: slices, rows and columns of each series that was found, usable or not, by its name.
    """

    manifest: Manifest
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...] = ()
    noise_hu: Mapping[str, float] = field(default_factory=dict)
    found: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundSeries:
    """The series found in the sources, before patients are assigned to splits.

    Attributes:
        rows: the manifest row of each series; ``split`` is set only if a source or a folder name gives it.
        skipped: the skipped files and series, with reasons.
        guessed: the doses of each patient identified only by a folder or file name.
        infos: the series of each row.
        notes: messages for the user about patients and doses.
    """

    rows: tuple[ManifestRow, ...]
    skipped: tuple[Skipped, ...]
    guessed: Mapping[str, Collection[Dose]]
    infos: Mapping[str, SeriesInfo]
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, list[int]]:
        """Slices, rows and columns of each series, by its name."""
        return {row.series: [row.slices, row.rows, row.columns] for row in self.rows}


def scan_sources(
    sources: Sequence[Source],
    manifest_path: Path,
    split: SplitSettings,
    *,
    salt: str = "",
    progress: Callable[[Path], object] | None = None,
    decoding: Callable[[int, int], object] | None = None,
) -> ScanReport:
    """Find all series of the sources, decode each, and split their patients; nothing is written.

    Series of which a slice cannot be decoded, does not look like HU or is far off its neighbours are left out: training
    would refuse them.

    Args:
        sources: see `find_rows`.
        manifest_path: path of the future manifest; its paths are relative to the folder of this file.
        split: the patients for training, validation and testing.
        salt: see `find_rows`.
        progress: called with each image file before its header is read.
        decoding: called with the numbers of decoded and of all slices, see `ctcycle.data.scan_noise.measure`.

    Raises:
        SeriesError: a source does not exist or holds no CT; the message has one line per source.
        ManifestError: the split is impossible.
    """
    found = find_rows(sources, manifest_path.parent, salt=salt, progress=progress)
    return scan_report(found, measure(found.rows, found.infos, decoding), sources, manifest_path, split)


def scan_report(
    found: FoundSeries, measured: Measured, sources: Sequence[Source], manifest_path: Path, split: SplitSettings
) -> ScanReport:
    """Return the result of a scan whose series have been found and measured; arguments as in `scan_sources`.

    Raises:
        SeriesError: no series can be used.
        ManifestError: the split is impossible.
    """
    usable, noise_hu, unusable = measured
    if not usable:
        raise SeriesError(f"{sources[0].path}: no CT can be used; {unusable[0].path}: {unusable[0].reason}")
    rows = sorted(assign_splits(usable, split), key=lambda row: (row.patient, row.path, row.uid))
    doses = (*found.notes, *contradictions(rows, noise_hu))
    notes = (*_matched_by_name(found.guessed), *doses, *_empty_fractions(rows, split))
    return ScanReport(Manifest(manifest_path, tuple(rows)), (*found.skipped, *unusable), notes, noise_hu, found.sizes)


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
    listed = _Listing(root, salt)
    problems: list[str] = []
    for source in sources:
        infos, left_out = _search(source, progress)
        listed.skipped += left_out
        if not infos:
            problems.append(_nothing_found(source.path, left_out))
        listed.add(infos, source)
    if not listed.rows and not problems:
        unlisted = next(item for item in listed.skipped if item.refused)
        problems.append(f"no series can be listed; {one_line(str(unlisted.path))}: {unlisted.reason}")
    if problems:
        raise SeriesError("\n".join(problems))
    return FoundSeries(
        tuple(listed.rows.values()), tuple(listed.skipped), listed.guessed, listed.infos, tuple(listed.notes)
    )


def _search(source: Source, progress: Callable[[Path], object] | None) -> tuple[list[SeriesInfo], list[Skipped]]:
    if not source.path.exists():
        return [], []
    return series_io.find_series(source.path, progress=progress, slice_axis=source.slice_axis)


class _Listing:
    """The series found so far."""

    def __init__(self, root: Path, salt: str) -> None:
        self._root, self._salt = root, salt
        self.rows: dict[str, ManifestRow] = {}
        self.infos: dict[str, SeriesInfo] = {}
        self.skipped: list[Skipped] = []
        self.guessed: dict[str, set[Dose]] = defaultdict(set)
        self.notes: list[str] = []

    def add(self, infos: Sequence[SeriesInfo], source: Source) -> None:
        """List the series of a source, or record why they are left out."""
        shared = ids_of_several(infos, source)
        for info in infos:
            named = replace(info, patient_id="") if info.patient_id in shared else info
            row = _describe(named, source, self._root, self._salt)
            if reason := _not_listed(info, row):
                self.skipped.append(Skipped(info.path, reason, refused=True))
            elif row.series in self.rows:
                self.skipped.append(Skipped(info.path, "series already found in an earlier source"))
            else:
                self.rows[row.series], self.infos[row.series] = row, info
                if not (source.patient or row.patient.startswith("p-") or MAYO.match(row.patient)):
                    self.guessed[row.patient].add(source.dose)
        self.notes += [_shared_note(source, folders) for folders in shared.values()]
        self.notes += _renamed_note(infos, source)


def _shared_note(source: Source, folders: int) -> str:
    return (
        f"{source.path}: one PatientID in {folders} folders with different studies, so each folder is taken as one "
        "patient; if they are one person, set `patient` for the source"
    )


def _renamed_note(infos: Sequence[SeriesInfo], source: Source) -> Iterator[str]:
    """Yield a sentence about series whose names say another dose than their source."""
    doses = [dose_of(names_of(info, source.path)) for info in infos] if source.dose else []
    other = [dose for dose in doses if dose not in {"", source.dose}]
    if other:
        yield (
            f"{source.path}: dose={source.dose}, but the names of {len(other)} of {len(doses)} series say {other[0]}; "
            "check the dose of the source"
        )


def _not_listed(info: SeriesInfo, row: ManifestRow) -> str:
    """Return why a series cannot be listed in a manifest; empty if it can."""
    if not info.is_volume:
        return info.notes[0] if info.notes else "several images at one position; separate them"
    if info.made_by in {"residual", "uncertainty"}:
        return f"a map of ctcycle ({info.made_by}), not CT"
    if not is_text(row.path):
        return "a name in its path is not UTF-8 text, which a manifest cannot list; rename it"
    return "" if survives(row) else "a name in its path starts or ends with a blank, or holds a line break; rename it"


def write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    """Write the skipped files and series to a CSV file with the columns path and reason, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    stream = io.StringIO(newline="")
    rows = ((one_line(str(item.path)), one_line(item.reason)) for item in skipped)
    csv.writer(stream, lineterminator="\n").writerows([("path", "reason"), *rows])
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
    parts = names_of(info, source.path)
    dose = source.dose or dose_of(parts)
    path, uid = stored_path(info.path, root), series_uid(info)
    return ManifestRow(
        series=series_name(info.format, path, uid),
        patient=" ".join(patient_of(info, source, parts, salt).split()) or series_name(info.format, path, uid),
        dose=dose,
        dose_fraction=dose_fraction(dose, source, parts),
        kernel=" ".join(info.kernel.split())[:64].strip() or first(KERNEL, parts),
        thickness_mm=_length(info.thickness_mm) or _length(float(first(THICKNESS, parts, 1) or 0)),
        spacing_mm=_length(info.spacing_mm[2]),
        rows=info.shape[1],
        columns=info.shape[2],
        slices=info.shape[0],
        split=source.split or next((SPLITS[part.lower()] for part in parts if part.lower() in SPLITS), ""),
        format=info.format,
        path=path,
        uid=uid,
        slice_axis=None if info.format == "dicom" else source.slice_axis,
    )


def _length(value: float) -> float:
    """Return a length in mm that a manifest accepts; 0.0 (unknown) for any other number."""
    return value if 0 < value < float("inf") else 0.0
