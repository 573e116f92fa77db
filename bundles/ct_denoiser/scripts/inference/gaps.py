# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Find unusable files that may be missing slices of a series."""

from collections.abc import Iterable
from pathlib import Path

from scripts.ct import nifti, npy
from scripts.ct.series import SeriesInfo, Skipped
from scripts.errors import SeriesError


def check_complete(info: SeriesInfo, skipped: Iterable[Skipped]) -> None:
    """Refuse a series that may have a gap, see `missing_from`.

    Raises:
        SeriesError: a skipped file may be one of its slices.
    """
    if (gap := missing_from(info, skipped)) is not None:
        raise SeriesError(
            f"{info.path}: {gap.name} is unreadable or refused and may belong to this series, leaving a gap; "
            "re-export it or move it elsewhere"
        )


def missing_from(info: SeriesInfo, skipped: Iterable[Skipped]) -> Path | None:
    """Return an unusable file that may be a slice of the series, leaving a gap; None if there is none.

    Damaged files next to the slices count, unless their SeriesInstanceUID (DICOM) or name (npy) shows that they belong
    to another series. Other refused files count if they share its SeriesInstanceUID.

    Args:
        info: from `find_series`.
        skipped: the files skipped by `find_series`.
    """
    return next((entry.path for entry in skipped if _may_belong(entry, info)), None)


def _may_belong(entry: Skipped, info: SeriesInfo) -> bool:
    if not entry.damaged:
        return entry.refused and _is_beside(entry, info) and info.uid == entry.uid != ""
    if info.format == "npy":
        return entry.path.name.lower().endswith(".npy") and npy.may_belong(entry.path, info)
    if info.format == "nifti" or entry.path.name.lower().endswith((".npy", *nifti.SUFFIXES)):
        return False
    return _is_beside(entry, info) and info.uid.startswith(entry.uid)


def _is_beside(entry: Skipped, info: SeriesInfo) -> bool:
    return entry.path == info.path or (entry.path.parent == info.path and not entry.path.is_dir())
