# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""NIfTI volumes: read as axial slices and written back in the file's own axis order with its header unchanged."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel import imageglobals, orientations
from numpy.typing import NDArray

from scripts import atomic
from scripts.ct.series import SeriesInfo, Skipped, SlicePlane
from scripts.ct.stored_values import StoredValues, integer_limits
from scripts.errors import DamagedError, SeriesError

SUFFIXES = (".nii", ".nii.gz")

_SLICES: NDArray[np.float64] = orientations.axcodes2ornt(("S", "P", "L"))  # type: ignore[no-untyped-call]
"""Orientation of an axial DICOM slice: slices towards the head, rows towards the back, columns towards the left."""

_TO_DICOM = np.diag([-1.0, -1.0, 1.0])
"""From NIfTI's coordinates (right, front, head) to DICOM's (left, back, head)."""


@dataclass(frozen=True)
class _Header:
    """The layout and scaling of the stored array, from the file header.

    Attributes:
        shape: three axes in the file's order; the third is 1 for a single slice.
        dtype: stored data type, including byte order.
        offset: byte offset of the first voxel in the uncompressed file.
        slope: rescale slope to HU.
        intercept: rescale intercept to HU.
        orientation: (3, 2), axis directions in nibabel's convention.
        spacing: along the three axes, in mm; 0.0 if the file has no third axis.
        affine: (4, 4), from voxel indices to mm.
        located: whether the file records its affine, which nibabel otherwise makes up.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    orientation: NDArray[np.float64]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    located: bool


def find_series(files: Iterable[Path]) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Return one series per NIfTI file, reading only the headers.

    Args:
        files: candidate ``.nii`` or ``.nii.gz`` files.

    Returns:
        The series, and the files that were skipped (four-dimensional, colour, not NIfTI).
    """
    found: list[SeriesInfo] = []
    skipped: list[Skipped] = []
    for file in files:
        try:
            found.append(_info(file, _read_header(file)))
        except SeriesError as error:
            reason, damaged = str(error).removeprefix(f"{file}: "), isinstance(error, DamagedError)
            skipped.append(Skipped(file, reason, damaged=damaged, refused=not damaged))
    return found, skipped


def read_stored(info: SeriesInfo) -> Iterator[StoredValues]:
    """Yield the stored values slice by slice (1, H, W), from feet to head, each oriented like an axial DICOM slice.

    Args:
        info: a NIfTI series.

    Raises:
        SeriesError: the file is missing, truncated or not a supported volume.
    """
    header = _read_header(info.path)
    yield from _slices(header, _voxels(info.path, header, _content(info.path)))


def write_corrected(info: SeriesInfo, corrections: Iterable[NDArray[np.float32]], out: Path) -> list[Path]:
    """Write a copy of the source file with corrected voxels; header and extensions are kept byte for byte.

    Args:
        info: the source.
        corrections: (H, W) for each slice, to be added, in HU.
        out: a path ending in ``.nii`` or ``.nii.gz``; a compressed file records no time and no name.

    Returns:
        A list with ``out`` as its only item.

    Raises:
        SeriesError: the source cannot be read.
        OutputError: the file cannot be written.
    """
    header = _read_header(info.path)
    content = _content(info.path)
    slices = _slices(header, _voxels(info.path, header, content))
    body = _filled(
        header,
        header.dtype,
        (slice_.corrected(step[None])[0] for slice_, step in zip(slices, corrections, strict=True)),
    )
    start, end = memoryview(content)[: header.offset], memoryview(content)[header.offset + len(body) :]
    atomic.write_file(out, lambda stream: _write(stream, out, (start, body, end)))
    return [out]


def write_map(info: SeriesInfo, maps: Iterable[NDArray[np.float32]], out: Path) -> list[Path]:
    """Write a float32 map over the voxels of a file; geometry, units and extensions are kept.

    Args:
        info: the source.
        maps: (H, W) for each slice.
        out: as for `write_corrected`.

    Returns:
        A list with ``out`` as its only item.

    Raises:
        SeriesError: the source cannot be read.
        OutputError: the file cannot be written.
    """
    header, content = _read_header(info.path), _content(info.path)
    described: Any = nib.load(info.path).header
    size, order = described.sizeof_hdr, described.endianness
    described = type(described)(content[:size], order, check=False)  # the header as stored; loading changes it
    described.set_data_dtype(np.float32)
    described.set_slope_inter(1, 0)
    described["cal_min"] = described["cal_max"] = 0  # the source's display range does not apply
    body = _filled(header, np.dtype(np.float32).newbyteorder(order), maps)
    parts = (described.binaryblock, content[size : header.offset], body)
    atomic.write_file(out, lambda stream: _write(stream, out, parts))
    return [out]


def _filled(header: _Header, dtype: np.dtype[np.generic], slices: Iterable[NDArray[np.generic]]) -> memoryview:
    """Return the bytes of an array in the file's axis order, given its axial slices."""
    voxels = np.empty(header.shape, dtype, order="F")
    for target, values in zip(_reorient(voxels, _transform(header.orientation, _SLICES)), slices, strict=True):
        target[...] = values
    return voxels.T.data.cast("B")


def _write(stream: IO[bytes], out: Path, parts: Iterable[bytes | memoryview]) -> None:
    if not out.name.lower().endswith(".gz"):
        stream.writelines(parts)
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as packed:
        packed.writelines(parts)


def _read_header(file: Path) -> _Header:
    """Return the validated header.

    Raises:
        SeriesError: the file is not NIfTI, not numeric or not a volume.
    """
    try:
        with imageglobals.LoggingOutputSuppressor():
            image: Any = nib.load(file)
            proxy, affine = image.dataobj, np.asarray(image.affine, dtype=np.float64)
            dtype, spacing = image.get_data_dtype(), image.header.get_zooms()
            located = any(int(image.header[code]) for code in ("sform_code", "qform_code"))
    except Exception as error:  # nibabel can raise anything on a broken header
        raise DamagedError(f"{file}: cannot be read as NIfTI ({type(error).__name__}); re-export it") from error
    if dtype.kind not in "iuf":
        raise SeriesError(f"{file}: data type is {dtype}; must be one real number per voxel")
    shape = tuple(int(size) for size in proxy.shape)
    if len(shape) < 2 or 0 in shape or any(size != 1 for size in shape[3:]):
        raise SeriesError(f"{file}: shape is {shape}; must be one volume or one slice, split a time series")
    rows, columns, slices = (*shape, 1)[:3]
    return _Header(
        shape=(rows, columns, slices),
        dtype=dtype,
        offset=int(proxy.offset),
        slope=float(proxy.slope),
        intercept=float(proxy.inter),
        orientation=_orientation(affine),
        spacing=tuple(float(size) for size in (*spacing, 0.0)[:3]),  # type: ignore[arg-type]
        affine=affine,
        located=located,
    )


def _orientation(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the axis directions; if the affine is degenerate, the last axis is assumed to be the slice axis."""
    if np.isfinite(affine).all():
        found: NDArray[np.float64] = orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
        if not np.isnan(found).any():
            return found
    unknown: NDArray[np.float64] = orientations.axcodes2ornt(("L", "P", "S"))  # type: ignore[no-untyped-call]
    return unknown


def _transform(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    transform: NDArray[np.float64] = orientations.ornt_transform(start, end)  # type: ignore[no-untyped-call]
    return transform


def _reorient(array: NDArray[np.generic], transform: NDArray[np.float64]) -> NDArray[np.generic]:
    turned: NDArray[np.generic] = orientations.apply_orientation(array, transform)  # type: ignore[no-untyped-call]
    return turned


def _info(file: Path, header: _Header) -> SeriesInfo:
    transform = _transform(header.orientation, _SLICES)
    source_axes = [int(axis) for axis in np.argsort(transform[:, 0])]
    count, rows, columns = (header.shape[axis] for axis in source_axes)
    spacing = [header.spacing[axis] for axis in source_axes]
    ends = [float(header.affine[2, 3]) + index * float(header.affine[2, source_axes[0]]) for index in (0, count - 1)]
    return SeriesInfo(
        format="nifti",
        path=file,
        files=(file,),
        uid="",
        shape=(count, rows, columns),
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        positions_mm=tuple(np.linspace(min(ends), max(ends), count).tolist()),
        kernel="",
        thickness_mm=0.0,
        patient_id="",
        plane=_plane(header, transform),
    )


def _plane(header: _Header, transform: NDArray[np.float64]) -> SlicePlane | None:
    """Return the plane of the axial slices; None if the affine is missing or degenerate."""
    original: NDArray[np.float64] = orientations.inv_ornt_aff(transform, header.shape)  # type: ignore[no-untyped-call]
    slices, down, right, corner = (_TO_DICOM @ header.affine[:3] @ original).T
    lengths = [float(np.linalg.norm(step)) for step in (right, down)]
    if not header.located or not np.isfinite(header.affine).all() or 0 in lengths:
        return None
    count = header.shape[int(np.flatnonzero(transform[:, 0] == 0)[0])]
    directions = np.concatenate([right / lengths[0], down / lengths[1]])
    corners = corner + np.arange(count)[:, None] * slices
    return SlicePlane(tuple(directions.tolist()), tuple(map(tuple, corners.tolist())))


def _content(file: Path) -> bytes:
    """Return the uncompressed bytes of the file."""
    try:
        raw = file.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SeriesError(
            f"{file}: cannot be read ({type(error).__name__}: truncated or damaged); copy it again"
        ) from error


def _voxels(file: Path, header: _Header, content: bytes) -> NDArray[np.generic]:
    """Return the stored values in the file's axis order."""
    expected = header.offset + int(np.prod(header.shape)) * header.dtype.itemsize
    if len(content) < expected:
        raise SeriesError(f"{file}: is {len(content)} bytes, but its header requires {expected}; copy it again")
    flat = np.frombuffer(content, header.dtype, count=int(np.prod(header.shape)), offset=header.offset)
    return flat.reshape(header.shape, order="F")


def _slices(header: _Header, voxels: NDArray[np.generic]) -> Iterator[StoredValues]:
    transform = _transform(header.orientation, _SLICES)
    for values in _reorient(voxels, transform):
        yield StoredValues(values[None], header.slope, header.intercept, integer_limits(header.dtype))
