# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Find, read and write NIfTI volumes slice by slice, in bounded memory."""

import gzip
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from scripts import atomic
from scripts.ct.array_file import Layout, copy_bytes, opened, read_slices, write_slices
from scripts.ct.nifti.cutting import Cut, choose_cut, slice_plane, slice_positions
from scripts.ct.nifti.headers import READ_ERRORS, Header, read_header, unreadable
from scripts.ct.series import SeriesInfo, Skipped, pixel_note
from scripts.ct.stored_values import StoredValues, integer_limits
from scripts.errors import DamagedError, SeriesError

_OURS = re.compile(rb"\bctcycle (denoised|residual|uncertainty)$")
_DESCRIPTION_BYTES = 80
_MAX_TAIL = 1 << 20
"""Bytes after the voxels that are kept; more belong to no known program."""


def find_series(files: Iterable[Path], slice_axis: int | None = None) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Return one series per NIfTI file, reading only the headers.

    Args:
        files: candidate ``.nii`` or ``.nii.gz`` files.
        slice_axis: the file's axis to cut along; None for slices with square pixels, axial ones if possible.

    Returns:
        The series, and the files that were skipped (colour, not NIfTI, larger than the file).
    """
    found: list[SeriesInfo] = []
    skipped: list[Skipped] = []
    for file in files:
        try:
            found.append(_info(file, read_header(file), slice_axis))
        except SeriesError as error:
            reason, damaged = str(error).removeprefix(f"{file}: "), isinstance(error, DamagedError)
            skipped.append(Skipped(file, reason, damaged=damaged, refused=not damaged))
    return found, skipped


def read_stored(info: SeriesInfo, slices: Sequence[int] | None = None) -> Iterator[StoredValues]:
    """Yield the stored values slice by slice (1, H, W), each oriented like a DICOM slice.

    Args:
        info: a NIfTI series.
        slices: indices of the slices to read, ascending; all by default.

    Raises:
        SeriesError: the file is missing, truncated or not a supported volume.
    """
    header, cut = _reopened(info)
    order = cut.indices(header)
    picked = order if slices is None else [order[index] for index in slices]
    limits = integer_limits(header.dtype)
    try:
        with opened(info.path) as stream:
            for values in read_slices(stream, cut.layout(header), picked):
                yield StoredValues(cut.shown(values)[None], header.slope, header.intercept, limits)
    except READ_ERRORS as error:
        raise unreadable(info.path, error) from error


def write_corrected(
    info: SeriesInfo, corrections: Iterable[NDArray[np.float32]], out: Path, kind: str = ""
) -> list[Path]:
    """Write a copy of the source file with corrected voxels; header and extensions are kept byte for byte.

    Only the description in the header changes: the kind is appended, so that a result is not denoised again.

    Args:
        info: the source.
        corrections: (H, W) for each slice, to be added, in HU.
        out: a path ending in ``.nii`` or ``.nii.gz``; a compressed file records no time and no name.
        kind: "denoised"; empty to keep the description.

    Returns:
        A list with ``out`` as its only item.

    Raises:
        SeriesError: the source cannot be read.
        OutputError: the file cannot be written.
    """
    header, _cut = _reopened(info)
    pairs = zip(read_stored(info), corrections, strict=True)
    described = header.described()
    if kind:
        described["descrip"] = _described(header, kind)
    start = described.binaryblock if kind else header.raw
    _write(info, (stored.corrected(step[None])[0] for stored, step in pairs), out, start, header.dtype)
    return [out]


def write_map(info: SeriesInfo, maps: Iterable[NDArray[np.float32]], out: Path, kind: str) -> list[Path]:
    """Write a float32 map over the voxels of a file; geometry, units and extensions are kept.

    Args:
        info: the source.
        maps: (H, W) for each slice.
        out: as for `write_corrected`.
        kind: the kind of map, recorded in the header, so that the map is not taken for CT.

    Returns:
        A list with ``out`` as its only item.

    Raises:
        SeriesError: the source cannot be read.
        OutputError: the file cannot be written.
    """
    header, _cut = _reopened(info)
    described = header.described()  # as stored; nibabel's own loading changes it
    described.set_data_dtype(np.float32)
    described.set_slope_inter(1, 0)
    described["cal_min"] = described["cal_max"] = 0  # the source's display range does not apply
    described["descrip"] = f"ctcycle {kind}"
    dtype = np.dtype(f"{header.order}f4")
    _write(info, maps, out, described.binaryblock, dtype)
    return [out]


def _reopened(info: SeriesInfo) -> tuple[Header, Cut]:
    """Return header and cut of a series that was found earlier.

    Raises:
        SeriesError: the file cannot be read or has changed.
    """
    header = read_header(info.path)
    cut = choose_cut(header, info.slice_axis)
    shape = (header.shape[cut.axes[0]] * header.volumes, header.shape[cut.axes[1]], header.shape[cut.axes[2]])
    if shape != info.shape:
        raise SeriesError(f"{info.path}: shape is {shape}, but was {info.shape} when it was found; scan it again")
    return header, cut


def _info(file: Path, header: Header, axis: int | None) -> SeriesInfo:
    cut = choose_cut(header, axis)
    count, rows, columns = (header.shape[axis] for axis in cut.axes)
    spacing = [abs(header.spacing[axis]) for axis in cut.axes]
    return SeriesInfo(
        format="nifti",
        path=file,
        files=(file,),
        uid="",
        shape=(count * header.volumes, rows, columns),
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        positions_mm=slice_positions(header, cut),
        kernel="",
        thickness_mm=0.0,
        patient_id="",
        plane=slice_plane(header, cut),
        slice_axis=cut.axes[0],
        made_by=_made_by(header),
        notes=(_cut_note(cut, spacing),) if cut.plane != "axial" and axis is None else _pixel_notes(spacing),
    )


def _pixel_notes(spacing: Sequence[float]) -> tuple[str, ...]:
    note = pixel_note(spacing[1], spacing[2])
    return (note,) if note else ()


def _made_by(header: Header) -> str:
    found = _OURS.findall(bytes(header.described()["descrip"].item()).rstrip(b"\0"))
    return str(found[0].decode("ascii")) if found else ""


def _described(header: Header, kind: str) -> bytes:
    """Return the source's description, shortened if necessary, with the kind of the result."""
    source = bytes(header.described()["descrip"].item()).rstrip(b"\0")
    ending = f"ctcycle {kind}".encode()
    return (source[: _DESCRIPTION_BYTES - len(ending) - 1] + b" " + ending).strip()


def _cut_note(cut: Cut, spacing: Sequence[float]) -> str:
    between, rows, columns = spacing
    return (
        f"cut into {cut.plane} slices with pixels of {rows:.3g} x {columns:.3g} mm, {between:.3g} mm apart; "
        "set slice_axis to 0, 1 or 2 to cut along another axis of the file"
    )


def _write(
    info: SeriesInfo, slices: Iterable[NDArray[np.generic]], out: Path, start: bytes, dtype: np.dtype[np.generic]
) -> None:
    """Write a file that differs from its source only in its voxels and the start of its header."""
    header, cut = _reopened(info)
    layout = Layout(dtype, header.offset, header.shape, cut.axes[0], header.volumes)

    def fill(target: IO[bytes]) -> None:
        with ExitStack() as stack:
            packed = out.name.lower().endswith(".gz")
            stream = stack.enter_context(tempfile.TemporaryFile(dir=out.parent)) if packed else target
            _copy_around(info.path, header, cut, stream, layout)
            stream.seek(0)
            stream.write(start)
            write_slices(stream, layout, cut.indices(header), map(cut.stored, slices))
            if packed:
                stream.seek(0)
                with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0, compresslevel=6) as archive:
                    while chunk := stream.read(1 << 20):
                        archive.write(chunk)

    atomic.write_file(out, fill)


def _copy_around(source: Path, header: Header, cut: Cut, target: IO[bytes], layout: Layout) -> None:
    """Copy what surrounds the voxels: header and extensions before them, and anything after them.

    Raises:
        SeriesError: the source cannot be read, or too much follows the voxels.
    """
    with opened(source) as stream:
        _copied(source, stream, target, header.offset)
        end = cut.layout(header).end
        try:
            stream.seek(end)
        except READ_ERRORS as error:
            raise unreadable(source, error) from error
        target.seek(layout.end)
        if _copied(source, stream, target, _MAX_TAIL + 1) > _MAX_TAIL:
            raise SeriesError(f"{source}: more than {_MAX_TAIL} bytes follow the voxels; re-export it")


def _copied(source: Path, stream: IO[bytes], target: IO[bytes], count: int) -> int:
    reading = _Guarded(source, stream)
    return copy_bytes(reading, target, count)  # type: ignore[arg-type]  # it only has to be readable


class _Guarded:
    """A stream whose read errors name the source, so that they differ from those of the output."""

    def __init__(self, source: Path, stream: IO[bytes]) -> None:
        self._source, self._stream = source, stream

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes.

        Raises:
            SeriesError: they cannot be read.
        """
        try:
            return self._stream.read(size)
        except READ_ERRORS as error:
            raise unreadable(self._source, error) from error
