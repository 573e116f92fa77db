"""Sort the files of a job: CT series to denoise, and everything else with the reason why it is not denoised."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom import dcmread

from ctcycle.ct.dicom.headers import read_headers, texts
from ctcycle.ct.dicom.silence import quiet
from ctcycle.ct.finding import find_series
from ctcycle.ct.series import SeriesInfo, Skipped
from ctcycle.errors import SeriesError
from ctcycle.inference.gaps import check_complete

Kind = Literal["not_ct", "localizer", "bolus", "own", "refused", "no_rule"]

_BOLUS = re.compile(
    r"pre.?monitoring|\bmonitoring\b|smart.?prep|bolus.?(track|pro|timing)|test.?bolus|sure.?start", re.IGNORECASE
)
_FEWEST_REPEATS = 3
_NAMES: dict[Kind, str] = {"not_ct": "not CT", "no_rule": "no rule"}
_FILES = re.compile(r" \(\d+ files: [^)]*\)")


@dataclass(frozen=True)
class Other:
    """Files that are not denoised.

    Attributes:
        kind: which rule decides about them.
        files: the files.
        reason: one sentence without identity.
    """

    kind: Kind
    files: tuple[Path, ...]
    reason: str


@dataclass(frozen=True)
class Sorted:
    """The files of a job.

    Attributes:
        series: CT series to denoise.
        others: the rest.
    """

    series: tuple[SeriesInfo, ...]
    others: tuple[Other, ...]


def sort_files(folder: Path) -> Sorted:
    """Sort the files of a folder, as ``ctcycle denoise`` would, and also leave out bolus trackers.

    Args:
        folder: DICOM files of one SeriesInstanceUID.
    """
    found, skipped = find_series(folder)
    series, others = [], []
    for info in found:
        if other := _why_not(info, skipped):
            others.append(other)
        else:
            series.append(info)
    known = {file for info in found for file in info.files}
    rest = sorted(file for file in folder.glob("*.dcm") if file not in known)
    if rest:
        others.extend(_rest(rest, skipped))
    return Sorted(tuple(series), tuple(others))


def body_part(info: SeriesInfo) -> str:
    """Return BodyPartExamined of a series; empty if it is not given."""
    return "/".join(_texts(info.files[0], "BodyPartExamined"))


def _why_not(info: SeriesInfo, skipped: Sequence[Skipped]) -> Other | None:
    if info.made_by:
        return Other("own", info.files, f"a result of ctcycle ({info.made_by}), not a scan")
    if info.shape[0] >= _FEWEST_REPEATS and len(set(info.positions_mm)) == 1:
        return Other("bolus", info.files, f"one position imaged {info.shape[0]} times, as by a bolus tracker")
    described = " ".join((*_texts(info.files[0], "SeriesDescription"), *_texts(info.files[0], "ImageType")))
    if found := _BOLUS.search(described):
        return Other("bolus", info.files, f"a bolus tracker, by its description ('{found[0].lower()}')")
    try:
        check_complete(info, skipped)
    except SeriesError as error:
        return Other("refused", info.files, without_path(str(error), info.path))
    return None


def _rest(files: Sequence[Path], skipped: Sequence[Skipped]) -> list[Other]:
    """Return the files that belong to no series, by kind."""
    reasons = Counter(_FILES.sub("", item.reason) for item in skipped)
    kinds: dict[Kind, list[Path]] = {}
    for file in files:
        kinds.setdefault(_kind(file), []).append(file)
    return [Other(kind, tuple(found), _reason(kind, reasons)) for kind, found in kinds.items()]


def _reason(kind: Kind, reasons: Iterable[str]) -> str:
    """Return the reason for files of a kind; that files were ignored, such as our own notes, is none."""
    name = _NAMES.get(kind, kind)
    said = [reason for reason in reasons if reason != name and not reason.startswith("ignored ")]
    return ": ".join(filter(None, (name, "; ".join(said))))


def _kind(file: Path) -> Kind:
    try:
        header = read_headers(file)[0]
    except SeriesError:
        return "refused"
    if header.modality not in {"CT", ""} or (header.has_pixels and "CT" not in header.sop_class.name):
        return "not_ct"
    if any(word in value for value in header.image_type for word in ("LOCALIZER", "SURVIEW", "SCOUT", "TOPOGRAM")):
        return "localizer"
    return "refused"


def _texts(file: Path, keyword: str) -> tuple[str, ...]:
    try:
        with quiet():
            return texts(dcmread(file, stop_before_pixels=True, specific_tags=[keyword]), keyword)
    except Exception:  # noqa: BLE001 (pydicom can raise anything; the file was read before)
        return ()


def without_path(text: str, path: Path) -> str:
    """Return a message without the folder it starts with, which says nothing to a reader of the status page."""
    return text.removeprefix(f"{path}: ").replace(f"{path}/", "")
