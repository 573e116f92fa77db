"""Which CT series a set of DICOM files holds, and in which order: from the headers alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.uid import CTImageStorage

from ctcycle.dicom.headers import Header, read_header
from ctcycle.errors import SeriesError
from ctcycle.series import SeriesInfo, Skipped

MAX_SIDE = 8192
"""Rows and columns beyond any CT: such a header is broken, or meant to exhaust the memory."""

_SAME_POSITION_MM = 0.01
_SAME_SPACING = 1e-4
_SAME_DIRECTION = 1e-3
_NAMED_FILES = 5
_LOCALIZERS = ("LOCALIZER", "SURVIEW", "SCOUT", "TOPOGRAM")


@dataclass(frozen=True)
class _Ordered:
    """Slices in their order; ``located`` tells positions in mm from mere instance numbers."""

    headers: list[Header]
    positions: list[float]
    located: bool


def find_series(files: Iterable[Path]) -> tuple[list[SeriesInfo], list[Skipped]]:
    """The CT series among DICOM files.

    The files of one folder that share a SeriesInstanceUID are one series. A folder's copy of a series is a series of
    its own, since anonymisers and simulators are known to keep the UID.

    Args:
        files: DICOM files, of any folders and in any order.

    Returns:
        The series, slices by position along their normal, and what was left out, with the reason.
    """
    groups: dict[tuple[Path, str], list[Header]] = {}
    rejected: dict[tuple[Path, str, str], list[Header]] = {}
    skipped: list[Skipped] = []
    for file in files:
        try:
            header = read_header(file)
        except SeriesError as error:
            skipped.append(Skipped(file, str(error).removeprefix(f"{file}: "), damaged=True))
            continue
        key = (file.parent, header.series_uid or header.identity[2])
        if reason := _unusable(header):
            rejected.setdefault((*key, reason), []).append(header)
        else:
            groups.setdefault(key, []).append(header)
    for (_folder, _uid, reason), headers in rejected.items():
        entry = _skipped([header.path for header in headers], reason)
        skipped.append(replace(entry, damaged=any(map(_cut_off, headers)), uid=headers[0].series_uid))
    found = []
    for group in groups.values():
        try:
            info, left_out = _assemble(group)
        except SeriesError as error:
            skipped.append(_skipped([header.path for header in group], str(error)))
        else:
            found.append(info)
            skipped.extend(left_out)
    return found, skipped


def _skipped(paths: Sequence[Path], reason: str) -> Skipped:
    """One entry for all files of a series that share a reason."""
    if len(paths) == 1:
        return Skipped(paths[0], reason)
    names = ", ".join(path.name for path in paths[:_NAMED_FILES])
    others = " and others" if len(paths) > _NAMED_FILES else ""
    return Skipped(paths[0].parent, f"{reason} ({len(paths)} files: {names}{others})")


def _cut_off(header: Header) -> bool:
    """Whether a file ends before the pixels of what is, as far as it can be read, a CT slice."""
    localizer = any(mark in value for value in header.image_type for mark in _LOCALIZERS)
    is_ct = "CT".startswith(header.modality) and CTImageStorage.startswith(header.sop_class)
    return is_ct and not header.has_pixels and not localizer


def _unusable(header: Header) -> str | None:
    """Why a file cannot be a slice of a CT series; None if it can."""
    return _not_ct(header) or _not_hu(header)


def _not_ct(header: Header) -> str | None:
    name = header.sop_class.name
    if header.modality not in {"CT", ""}:
        return f"{header.modality[:16]}, needs CT"
    if "Enhanced" in name or header.frames > 1:
        return "Enhanced multi-frame is not supported yet; convert it to one file per slice"
    if header.sop_class not in {CTImageStorage, ""}:
        return f"{name}, needs {CTImageStorage.name}"
    if not header.modality and not header.sop_class:
        return "neither Modality nor SOPClassUID says what it is, needs CT"
    if any(mark in value for value in header.image_type for mark in _LOCALIZERS):
        return "localizer"
    return None


def _not_hu(header: Header) -> str | None:
    samples, photometric = header.colours
    if not header.has_pixels:
        return "no pixel data; the file may be cut off, copy or export it again"
    if samples != 1 or photometric != "MONOCHROME2":
        return f"{photometric[:16]} with {samples} samples per pixel, needs MONOCHROME2 with 1"
    if not all(0 < side <= MAX_SIDE for side in header.shape):
        return f"{header.shape[0]} x {header.shape[1]} pixels; 1 to {MAX_SIDE} rows and columns are allowed"
    if header.rescale is None:
        return "RescaleSlope or RescaleIntercept is missing or not a number, so its values cannot be turned into HU"
    if header.rescale_type and not header.rescale_type.startswith("H"):
        return f"RescaleType {header.rescale_type[:16]}, needs HU"
    return None


def _assemble(headers: list[Header]) -> tuple[SeriesInfo, list[Skipped]]:
    """The series of one group.

    Raises:
        SeriesError: the files do not make one series.
    """
    where = f"series {headers[0].series_uid or 'without UID'}"
    if len({header.identity for header in headers}) > 1:
        raise SeriesError(f"{where}: two patients or studies in one series; separate them")
    headers, outliers = _without_localizers(headers)
    skipped = [
        _skipped([header.path], "localizer: it lies across the other slices of its series") for header in outliers
    ]
    _check_uniform(where, headers)
    ordered, copies = _without_copies(where, _in_order(where, headers))
    skipped.extend(_skipped([copy], "a copy of another file of its series, byte for byte") for copy in copies)
    return _info(ordered), skipped


def _info(ordered: _Ordered) -> SeriesInfo:
    first = ordered.headers[0]
    gaps = np.diff(ordered.positions if ordered.located else [])
    rows_mm, columns_mm = first.spacing_mm or (0.0, 0.0)
    return SeriesInfo(
        format="dicom",
        path=first.path.parent,
        files=tuple(header.path for header in ordered.headers),
        uid=first.series_uid,
        shape=(len(ordered.headers), *first.shape),
        spacing_mm=(round(float(np.median(gaps)), 6) if len(gaps) else 0.0, rows_mm, columns_mm),
        positions_mm=tuple(ordered.positions),
        kernel=first.kernel,
        thickness_mm=first.thickness_mm,
        patient_id=first.identity[0],
    )


def _without_localizers(headers: list[Header]) -> tuple[list[Header], list[Header]]:
    """The slices, and the few that lie steeply across the most of them."""
    normals = Counter(header.normal for header in headers if header.normal is not None)
    if not normals:
        return headers, []
    common = np.array(normals.most_common(1)[0][0])
    steep = [header for header in headers if header.normal is not None and abs(common @ header.normal) < 0.8]
    if 2 * len(steep) > len(headers) - len(steep):
        return headers, []
    return [header for header in headers if header not in steep], steep


def _check_uniform(where: str, headers: list[Header]) -> None:
    """Refuses slices of several sizes, spacings or orientations.

    Raises:
        SeriesError: with the values found.
    """
    sizes = Counter(header.shape for header in headers)
    if len(sizes) > 1:
        found = ", ".join(f"{rows} x {columns} ({count})" for (rows, columns), count in sizes.most_common(3))
        raise SeriesError(f"{where}: slices of several sizes: {found}; separate them")
    if not _all_close([header.spacing_mm for header in headers], _SAME_SPACING):
        found = ", ".join(str(spacing) for spacing in sorted({str(header.spacing_mm) for header in headers})[:3])
        raise SeriesError(f"{where}: slices of several pixel spacings: {found}; separate them")
    if not _all_close([header.orientation for header in headers], _SAME_DIRECTION):
        raise SeriesError(f"{where}: slices of several orientations; separate them")


def _all_close(values: Sequence[tuple[float, ...] | None], tolerance: float) -> bool:
    known = [value for value in values if value is not None]
    if len(known) != len(values):
        return not known
    return bool(np.all(np.ptp(np.array(known), axis=0) <= tolerance))


def _in_order(where: str, headers: list[Header]) -> _Ordered:
    """By position along the normal; where a slice has none, by InstanceNumber.

    Raises:
        SeriesError: there is neither.
    """
    normal = headers[0].normal
    keys = [_along(normal, header) for header in headers]
    located = None not in keys
    if not located:
        keys = [header.number if len(headers) > 1 else header.number or 0.0 for header in headers]
    known = [key for key in keys if key is not None]
    if len(known) < len(headers):
        raise SeriesError(f"{where}: slices without ImagePositionPatient and InstanceNumber; their order is unknown")
    order = sorted(range(len(headers)), key=lambda index: (known[index], headers[index].path))
    return _Ordered([headers[index] for index in order], [known[index] for index in order], located)


def _along(normal: tuple[float, ...] | None, header: Header) -> float | None:
    if normal is None or header.position is None:
        return None
    return round(float(np.dot(normal, header.position)), 6)


def _without_copies(where: str, ordered: _Ordered) -> tuple[_Ordered, list[Path]]:
    """One file per position; files with the same bytes are dropped.

    Raises:
        SeriesError: different files stand at one position.
    """
    tolerance = _SAME_POSITION_MM if ordered.located else 0.0
    headers, positions, copies = [ordered.headers[0]], [ordered.positions[0]], []
    for header, position in zip(ordered.headers[1:], ordered.positions[1:], strict=True):
        previous = headers[-1].path
        if position - positions[-1] > tolerance:
            headers.append(header)
            positions.append(position)
        elif header.path.read_bytes() == previous.read_bytes():
            copies.append(header.path)
        else:
            raise SeriesError(
                f"{where}: {previous.name} and {header.path.name} differ and stand at one position ({position:g}); "
                "separate the phases or reconstructions"
            )
    return _Ordered(headers, positions, ordered.located), copies
