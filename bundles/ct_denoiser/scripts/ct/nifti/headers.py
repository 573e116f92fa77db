# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Read NIfTI headers; what they claim is checked against the size of the file before anything is allocated."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from numpy.typing import NDArray

from scripts.ct.array_file import MAX_SIDE, MAX_SLICES, can_hold, opened
from scripts.errors import DamagedError, SeriesError

SUFFIXES = (".nii", ".nii.gz")

_HEADERS: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_MM: dict[str, float] = {"meter": 1000.0, "micron": 0.001}
"""Units of length other than mm; an unknown unit is taken for mm, as every reader does."""


@dataclass(frozen=True)
class Header:
    """The layout, scaling and geometry of the stored array.

    Attributes:
        raw: the bytes of the header, without extensions.
        order: byte order, "<" or ">".
        shape: three axes in the file's order; the third is 1 for a single slice.
        volumes: number of volumes, one after the other (a time series).
        dtype: stored data type, including byte order.
        offset: byte offset of the first voxel in the uncompressed file.
        slope: rescale slope to HU.
        intercept: rescale intercept to HU.
        spacing: along the three axes, in mm; 0.0 if unknown.
        affine: (4, 4), from voxel indices to mm.
        located: whether the file records its affine, which nibabel otherwise makes up.
    """

    raw: bytes
    order: str
    shape: tuple[int, int, int]
    volumes: int
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    located: bool

    def described(self) -> Any:
        """Return the header as an object of nibabel that may be changed; nothing in it is corrected."""
        return _HEADERS[len(self.raw)](self.raw, self.order, check=False)


def read_header(file: Path) -> Header:
    """Return the validated header.

    Raises:
        DamagedError: the file is not NIfTI, or too small for the array that its header describes.
        SeriesError: the array is not numeric or not a volume, or its geometry is not finite.
    """
    try:
        with imageglobals.LoggingOutputSuppressor():
            raw, described = _described(file)
            magic, slope = bytes(described["magic"]), described.get_slope_inter()
            shape, dtype = tuple(map(int, described.get_data_shape())), described.get_data_dtype()
            affine, spacing = _geometry(described)
            offset = int(described.get_data_offset())
    except Exception as error:  # nibabel can raise anything on a broken header
        raise DamagedError(f"{file}: cannot be read as NIfTI ({type(error).__name__}); re-export it") from error
    _check_kind(file, magic, dtype)
    _check_shape(file, shape)
    _check_geometry(file, affine, spacing)
    header = Header(
        raw=raw,
        order=described.endianness,
        shape=(*shape, 1)[:3],  # type: ignore[arg-type]
        volumes=(*shape, 1, 1)[3] if len(shape) > 3 else 1,
        dtype=dtype,
        offset=offset,
        slope=1.0 if slope[0] is None else float(slope[0]),
        intercept=0.0 if slope[1] is None else float(slope[1]),
        spacing=spacing,
        affine=affine,
        located=any(int(described[code]) for code in ("sform_code", "qform_code")),
    )
    _check_size(file, header)
    return header


def _described(file: Path) -> tuple[bytes, Any]:
    """Return the bytes of the header, and the header as nibabel understands it; extensions are not read."""
    with opened(file) as stream:
        start = stream.read(540)
    for size, kind in _HEADERS.items():
        if int.from_bytes(start[:4], "little") == size or int.from_bytes(start[:4], "big") == size:
            return start[:size], kind(start[:size])
    raise ValueError("no NIfTI header")


def _geometry(described: Any) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Return affine and spacing in mm."""
    factor = _MM.get(described.get_xyzt_units()[0], 1.0)
    affine = np.array(described.get_best_affine(), dtype=np.float64)
    affine[:3] *= factor
    zooms = [float(size) * factor for size in (*described.get_zooms(), 0.0, 0.0)[:3]]
    return affine, (zooms[0], zooms[1], zooms[2])


def _check_kind(file: Path, magic: bytes, dtype: np.dtype[np.generic]) -> None:
    if not magic.startswith(b"n+"):
        raise SeriesError(f"{file}: is the header of a pair of files (hdr, img); convert the pair to one .nii file")
    if dtype.kind not in "iuf":
        raise SeriesError(f"{file}: data type is {dtype}; must be one real number per voxel")


def _check_shape(file: Path, shape: tuple[int, ...]) -> None:
    if len(shape) < 2 or any(size != 1 for size in shape[4:]):
        raise SeriesError(f"{file}: shape is {shape}; must be a slice, a volume or a series of volumes")
    slices = (*shape, 1)[2] * (*shape, 1, 1)[3]
    sides = sorted((*shape, 1)[:3])
    if min(shape) < 1 or sides[1] > MAX_SIDE or slices > MAX_SLICES or sides[2] > MAX_SLICES:
        raise SeriesError(
            f"{file}: shape is {shape}; must have 1 to {MAX_SIDE} rows and columns and 1 to {MAX_SLICES} slices"
        )


def _check_geometry(file: Path, affine: NDArray[np.float64], spacing: tuple[float, ...]) -> None:
    if not (np.isfinite(affine).all() and np.isfinite(spacing).all()):
        found = " x ".join(f"{size:g}" for size in spacing)
        raise SeriesError(f"{file}: voxel size or position is not finite (voxels of {found} mm); correct its header")


def _check_size(file: Path, header: Header) -> None:
    """Raise DamagedError if the file is too small for its array, packed as tightly as possible."""
    size = int(np.prod([*header.shape, header.volumes], dtype=object)) * header.dtype.itemsize
    if not can_hold(file, header.offset + size):
        found = file.stat().st_size
        raise DamagedError(f"{file}: is {found} bytes, but its header requires {header.offset + size}; copy it again")


def unreadable(file: Path, error: Exception) -> SeriesError:
    """Return an error for voxels that cannot be read."""
    return SeriesError(f"{file}: cannot be read ({type(error).__name__}: truncated or damaged); copy it again")


READ_ERRORS = (OSError, EOFError, ValueError, zlib.error)
"""What reading a damaged or compressed file can raise."""
