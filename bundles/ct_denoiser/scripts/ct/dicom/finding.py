# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Group DICOM files into CT series and order their slices, reading only headers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from scripts.ct.dicom.headers import Header, read_headers
from scripts.ct.dicom.padding import doubt
from scripts.ct.dicom.repeats import SAME_POSITION_MM, Ordered, shared_uids, without_copies
from scripts.ct.series import SeriesInfo, Skipped, SlicePlane, hashed, pixel_note
from scripts.errors import SeriesError

MAX_SIDE = 8192
"""More rows or columns than any CT has; a larger header is broken or meant to exhaust the memory."""

_STORAGE = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_SAME_GAP = 0.05
_SAME_SPACING = 1e-4
_SAME_DIRECTION = 1e-3
_NAMED_FILES = 5
_NO_PIXELS = "no pixel data; the file may be truncated, copy or re-export it"
_LOCALIZERS = ("LOCALIZER", "SURVIEW", "SCOUT", "TOPOGRAM")


def find_series(files: Iterable[Path]) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Return the CT series among DICOM files.

    Files in one folder that share a SeriesInstanceUID form a series; each frame of an Enhanced file is a slice. The
    same UID in another folder is another series, since anonymisers and simulators may keep UIDs.

    Args:
        files: DICOM files, from any folders and in any order.

    Returns:
        The series, with slices ordered by position along their normal, and what was skipped, with the reasons.
    """
    groups: dict[tuple[Path, str], list[Header]] = {}
    rejected: dict[tuple[Path, str, str], list[Header]] = {}
    skipped: list[Skipped] = []
    for file in files:
        try:
            headers = read_headers(file)
        except SeriesError as error:
            skipped.append(Skipped(file, str(error).removeprefix(f"{file}: "), damaged=True))
            continue
        key = (file.parent, headers[0].series_uid or headers[0].identity[2])
        if reason := next(filter(None, map(_unusable, headers)), None):
            rejected.setdefault((*key, reason), []).append(headers[0])
        else:
            groups.setdefault(key, []).extend(headers)
    for (_folder, _uid, reason), headers in rejected.items():
        entry = _skipped([header.path for header in headers], reason)
        damaged, refused = any(map(_truncated, headers)), not _not_ct(headers[0])
        skipped.append(replace(entry, damaged=damaged, uid=headers[0].series_uid, refused=refused))
    found = []
    for group in groups.values():
        try:
            info, left_out = _assemble(group)
        except SeriesError as error:
            skipped.append(replace(_skipped(_paths(group), str(error)), refused=True))
        else:
            found.append(info)
            skipped.extend(left_out)
    return found, skipped


def in_order(files: Iterable[Path]) -> list[Header]:
    """Return the slices of one series in the order used by `find_series`.

    Args:
        files: all files of the series, from `find_series`.

    Raises:
        SeriesError: a file cannot be read, or the order of the slices can no longer be determined.
    """
    headers, _ = _without_localizers([header for file in files for header in read_headers(file)])
    return _in_order(_named(headers[0]), headers).headers


def uneven_spacing(info: SeriesInfo) -> str:
    """Return a sentence about unevenly spaced slices; empty if they are even or their positions are unknown.

    Args:
        info: a DICOM series.
    """
    usual, gaps = info.spacing_mm[0], np.diff(sorted(set(info.positions_mm)))
    uneven = np.flatnonzero(np.abs(gaps - usual) > max(_SAME_GAP * usual, SAME_POSITION_MM))
    if not usual or not len(uneven):
        return ""
    first = int(uneven[0])
    more = f" ({len(uneven)} uneven gaps in total)" if len(uneven) > 1 else ""
    return (
        f"slices {first + 1} and {first + 2} are {gaps[first]:.3g} mm apart, most others {usual:.3g} mm{more}; a slice "
        "may be missing (each slice is processed independently)"
    )


def _named(header: Header) -> str:
    """Return a name for messages; the UID is hashed, since many scanners put serial number and date into it."""
    return f"series {hashed(header.series_uid, 16)}" if header.series_uid else "series without UID"


def _paths(headers: Iterable[Header]) -> list[Path]:
    """Return the distinct files in order of first appearance."""
    return list(dict.fromkeys(header.path for header in headers))


def _skipped(paths: Sequence[Path], reason: str) -> Skipped:
    """Return one entry for all files of a series that are skipped for the same reason."""
    if len(paths) == 1:
        return Skipped(paths[0], reason)
    names = ", ".join(path.name for path in paths[:_NAMED_FILES])
    others = " and others" if len(paths) > _NAMED_FILES else ""
    return Skipped(paths[0].parent, f"{reason} ({len(paths)} files: {names}{others})")


def _truncated(header: Header) -> bool:
    """Return whether a file, as far as it can be read, is a CT slice that ends before its pixels."""
    localizer = any(mark in value for value in header.image_type for mark in _LOCALIZERS)
    is_ct = "CT".startswith(header.modality) and any(known.startswith(header.sop_class) for known in _STORAGE)
    return is_ct and not header.has_pixels and not localizer


def _unusable(header: Header) -> str | None:
    """Return why a file cannot be a slice of a CT series; None if it can."""
    return _NO_PIXELS if _truncated(header) else _not_ct(header) or _not_a_slice(header)


def _not_ct(header: Header) -> str | None:
    if header.modality not in {"CT", ""}:
        return f"{header.modality[:16]}, not CT"
    if header.sop_class and header.sop_class not in _STORAGE:
        return f"{header.sop_class.name}, not {CTImageStorage.name}"
    if not header.modality and not header.sop_class:
        return "not identified as CT: neither Modality nor SOPClassUID is set"
    if any(mark in value for value in header.image_type for mark in _LOCALIZERS):
        return "localizer"
    return None


def _not_a_slice(header: Header) -> str | None:
    (samples, photometric), (rows, columns) = header.colours, header.shape
    reasons = (
        (not header.has_pixels, _NO_PIXELS),
        (
            header.frames > 1,
            f"{header.frames} frames without a position for each; convert it to one file per slice",
        ),
        (
            samples != 1 or photometric != "MONOCHROME2",
            f"{photometric[:16]} with {samples} samples per pixel; must be MONOCHROME2 with 1",
        ),
        (
            not all(0 < side <= MAX_SIDE for side in header.shape),
            f"{rows} x {columns} pixels; must have 1 to {MAX_SIDE} rows and columns",
        ),
        (
            header.rescale is None,
            "RescaleSlope or RescaleIntercept is missing or not a number, so values cannot be converted to HU",
        ),
        (header.rescale_type[:1] not in {"", "H"}, f"RescaleType {header.rescale_type[:16]}, not HU"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def _assemble(headers: list[Header]) -> tuple[SeriesInfo, list[Skipped]]:
    """Return the series that a group of headers forms, and what was skipped.

    Raises:
        SeriesError: the files do not form one series.
    """
    where = _named(headers[0])
    if len({header.identity for header in headers}) > 1:
        raise SeriesError(f"{where}: more than one patient or study in a series; separate them")
    headers, outliers = _without_localizers(headers)
    skipped = [_skipped([path], "localizer: it crosses the other slices of its series") for path in _paths(outliers)]
    _check_uniform(where, headers)
    ordered, copies = without_copies(_in_order(where, headers))
    skipped.extend(_skipped([copy], "byte-for-byte copy of another file of its series") for copy in _paths(copies))
    return _info(ordered), skipped


def _info(ordered: Ordered) -> SeriesInfo:
    first = ordered.headers[0]
    gaps = np.diff(sorted(set(ordered.positions)) if ordered.located else [])
    rows_mm, columns_mm = first.spacing_mm or (0.0, 0.0)
    return SeriesInfo(
        format="dicom",
        path=first.path.parent,
        files=tuple(_paths(ordered.headers)),
        uid=first.series_uid,
        shape=(len(ordered.headers), *first.shape),
        spacing_mm=(round(float(np.median(gaps)), 6) if len(gaps) else 0.0, rows_mm, columns_mm),
        positions_mm=tuple(ordered.positions),
        kernel=first.kernel,
        thickness_mm=first.thickness_mm,
        patient_id=first.identity[0],
        plane=_plane(ordered.headers),
        made_by=first.made_by,
        notes=tuple(filter(None, _notes(ordered))),
        study_uid=first.identity[2],
        frame_uid=first.frame_of_reference,
    )


def _notes(ordered: Ordered) -> Iterator[str]:
    """Yield sentences about what is unusual; empty ones where nothing is."""
    declared = ((header.padding, header.rescale) for header in ordered.headers)
    yield _repeats(ordered.positions)
    yield shared_uids(ordered)
    yield pixel_note(*(ordered.headers[0].spacing_mm or (0.0, 0.0)))
    yield next((doubt(padding, rescale) for padding, rescale in declared if padding and rescale), "")


def _repeats(positions: Sequence[float]) -> str:
    places = len(set(positions))
    if places == len(positions):
        return ""
    return (
        f"has {len(positions)} images at {places} positions, such as phases or repeats; each image is processed "
        "independently, separate them to use it as a volume"
    )


def _plane(headers: Sequence[Header]) -> SlicePlane | None:
    corners = [header.position for header in headers if header.position is not None]
    if headers[0].orientation is None or len(corners) < len(headers):
        return None
    return SlicePlane(headers[0].orientation, tuple(corners))


def _without_localizers(headers: list[Header]) -> tuple[list[Header], list[Header]]:
    """Return the slices, and the few that are steeply inclined to most of them."""
    normals = Counter(header.normal for header in headers if header.normal is not None)
    if not normals:
        return headers, []
    common = np.array(normals.most_common(1)[0][0])
    steep = [header for header in headers if header.normal is not None and abs(common @ header.normal) < 0.8]
    if 2 * len(steep) > len(headers) - len(steep):
        return headers, []
    return [header for header in headers if header not in steep], steep


def _check_uniform(where: str, headers: list[Header]) -> None:
    """Check that all slices have the same size, pixel spacing and orientation.

    Raises:
        SeriesError: they differ; the message gives the values found.
    """
    sizes = Counter(header.shape for header in headers)
    if len(sizes) > 1:
        found = ", ".join(f"{rows} x {columns} ({count})" for (rows, columns), count in sizes.most_common(3))
        raise SeriesError(f"{where}: slices differ in size: {found}; separate them")
    if not _all_close([header.spacing_mm for header in headers], _SAME_SPACING):
        found = ", ".join(str(spacing) for spacing in sorted({str(header.spacing_mm) for header in headers})[:3])
        raise SeriesError(f"{where}: slices differ in pixel spacing: {found}; separate them")
    if not _all_close([header.orientation for header in headers], _SAME_DIRECTION):
        raise SeriesError(f"{where}: slices differ in orientation; separate them")


def _all_close(values: Sequence[tuple[float, ...] | None], tolerance: float) -> bool:
    known = [value for value in values if value is not None]
    if len(known) != len(values):
        return not known
    return bool(np.all(np.ptp(np.array(known), axis=0) <= tolerance))


def _in_order(where: str, headers: list[Header]) -> Ordered:
    """Return the slices ordered by position along the normal, or by InstanceNumber if any slice has no position.

    Raises:
        SeriesError: slices have neither.
    """
    normal = headers[0].normal
    keys = [_along(normal, header) for header in headers]
    located = None not in keys
    if not located:
        keys = [header.number if len(headers) > 1 else header.number or 0.0 for header in headers]
    known = [key for key in keys if key is not None]
    if len(known) < len(headers):
        raise SeriesError(
            f"{where}: slices without ImagePositionPatient or InstanceNumber, so their order is unknown; re-export them"
        )
    order = sorted(range(len(headers)), key=lambda index: (known[index], headers[index].path, headers[index].frame))
    return Ordered([headers[index] for index in order], [known[index] for index in order], located)


def _along(normal: tuple[float, ...] | None, header: Header) -> float | None:
    if normal is None or header.position is None:
        return None
    return round(float(np.dot(normal, header.position)), 6)
