# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""NumPy files: a folder of two-dimensional slices or one three-dimensional array, in HU or attenuation (1/mm)."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from scripts import atomic
from scripts.ct.array_file import MAX_SIDE, MAX_SLICES, Layout, read_slices, write_slices
from scripts.ct.hounsfield import MU_AIR, MU_WATER, MuScale, mu_to_hu
from scripts.ct.series import SeriesInfo, Skipped
from scripts.ct.slice_axis import by_sizes
from scripts.ct.stored_values import StoredValues, integer_limits
from scripts.errors import DamagedError, SeriesError

_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")
_MAX_HEADER = 1 << 16
"""Longer than the header of any array of numbers."""

_HEADER_READERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, Any]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class _Stored:
    """The array in a file.

    Attributes:
        file: the file.
        shape: its two or three axes.
        dtype: its data type, including byte order.
        offset: byte offset of the first value.
        fortran_order: whether its first axis varies fastest; otherwise the last one does.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    fortran_order: bool

    def layout(self, axis: int) -> Layout:
        """Return the layout that cuts a three-dimensional array along an axis."""
        first, second, third = self.shape if self.fortran_order else self.shape[::-1]
        return Layout(self.dtype, self.offset, (first, second, third), axis if self.fortran_order else 2 - axis)

    def turned(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Convert a slice between the order of the file, faster axis first, and that of the array."""
        return values if self.fortran_order else values.T


def find_series(
    files: Iterable[Path], mu_water: float = MU_WATER, mu_air: float = MU_AIR, slice_axis: int | None = None
) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Return the series in npy files, reading only the headers.

    Slices in one folder form a series if their names differ only in the last number (``0001.npy``, ``0002.npy``;
    ``L067_0_input.npy`` and ``L067_0_target.npy`` are two series); they are ordered by that number.

    Args:
        files: candidate npy files, from any folders.
        mu_water: attenuation of water in 1/mm, stored with each series.
        mu_air: attenuation of air in 1/mm, likewise.
        slice_axis: the axis that three-dimensional arrays are cut along; None to choose it by their sizes.

    Returns:
        The series, and the files that were skipped.
    """
    scale = MuScale(mu_water, mu_air)
    found: list[SeriesInfo] = []
    skipped: list[Skipped] = []
    slices: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        try:
            array = _open(file)
            if len(array.shape) == 3:
                found.append(_volume_info(array, scale, slice_axis))
                continue
        except SeriesError as error:
            refused = isinstance(error, _UndecidedError)
            skipped.append(Skipped(file, _reason(error, file), isinstance(error, DamagedError), refused=refused))
            continue
        slices.setdefault(_series_key(file), []).append(file)
    for group in slices.values():
        try:
            found.append(_slices_info(group, scale))
        except SeriesError as error:
            folder = group[0].parent
            skipped.append(Skipped(folder, _reason(error, folder), refused=True))
    return found, skipped


def read_stored(info: SeriesInfo, slices: Sequence[int] | None = None) -> Iterator[StoredValues]:
    """Yield the stored values slice by slice, each (1, H, W); a series with all values below 1 is attenuation.

    Args:
        info: a series of npy files.
        slices: indices of the slices to read, ascending; all by default.

    Raises:
        SeriesError: a file is missing, has changed shape or is not a numeric array.
    """
    slope, intercept = _scale(info)
    for values in _slices(info, range(info.shape[0]) if slices is None else slices):
        yield StoredValues(values[None], slope, intercept, integer_limits(values.dtype))


def write_corrected(
    info: SeriesInfo,
    corrections: Iterable[NDArray[np.float32]],
    out: Path,
) -> list[Path]:
    """Write a series with corrections added, in the unit and data type of its source.

    Args:
        info: the source.
        corrections: (H, W) for each slice, to be added, in HU.
        out: an existing folder for slices, a file for a volume.

    Returns:
        The written files; slices keep the file names of their sources.

    Raises:
        SeriesError: a source file can no longer be read.
        OutputError: a file cannot be written.
    """
    pairs = zip(read_stored(info), corrections, strict=True)
    dtype = _open(info.path).dtype if not is_slices(info) else None
    return _write_slices(info, dtype, (stored.corrected(step[None])[0] for stored, step in pairs), out)


def write_map(info: SeriesInfo, maps: Iterable[NDArray[np.float32]], out: Path) -> list[Path]:
    """Write a float32 map over the pixels of a series.

    Args:
        info: the source.
        maps: (H, W) for each slice.
        out: as for `write_corrected`.

    Returns:
        The written files; slices keep the file names of their sources.

    Raises:
        OutputError: a file cannot be written.
    """
    return _write_slices(info, np.dtype(np.float32), maps, out)


def is_slices(info: SeriesInfo) -> bool:
    """Return whether a series is a folder of slices rather than one three-dimensional file."""
    return info.files[0] != info.path


def may_belong(file: Path, info: SeriesInfo) -> bool:
    """Return whether a file, judging by its folder and name, would be a slice of a series."""
    return is_slices(info) and _series_key(file) == _series_key(info.files[0])


def _series_key(file: Path) -> tuple[Path, str]:
    """Return what the slices of one series share: the folder, and the name without its last number."""
    return file.parent, _LAST_NUMBER.sub("#", file.stem)


def _write_slices(
    info: SeriesInfo, dtype: np.dtype[np.generic] | None, slices: Iterable[NDArray[np.generic]], out: Path
) -> list[Path]:
    if not is_slices(info):
        source = _as_found(_open(info.path), info)
        target = replace(source, dtype=dtype or source.dtype)
        atomic.write_file(out, lambda stream: _write_volume(stream, target, info.slice_axis or 0, slices))
        return [out]
    files = [out / file.name for file in info.files]
    for file, values in zip(files, slices, strict=True):
        atomic.write_file(file, lambda stream, values=values: np.lib.format.write_array(stream, values))  # type: ignore[misc]
    return files


def _write_volume(stream: IO[bytes], target: _Stored, axis: int, slices: Iterable[NDArray[np.generic]]) -> None:
    """Write a volume slice by slice, so that it is never entirely in memory."""
    described = np.lib.format.dtype_to_descr(target.dtype)
    header = {"descr": described, "fortran_order": target.fortran_order, "shape": target.shape}
    np.lib.format.write_array_header_1_0(stream, header)
    layout = replace(target, offset=stream.tell()).layout(axis)
    write_slices(stream, layout, range(layout.count), map(target.turned, slices))


class _UndecidedError(SeriesError):
    """A volume whose sizes do not show its slices."""


def _open(file: Path) -> _Stored:
    """Return the array in a file, two- or three-dimensional and of real numbers, after reading only its header.

    Raises:
        DamagedError: the file is not npy, or smaller than its header says.
        SeriesError: the array is not numeric or has other dimensions.
    """
    try:
        with file.open("rb") as raw:
            start = io.BytesIO(raw.read(_MAX_HEADER))
        read = _HEADER_READERS[np.lib.format.read_magic(start)]
        shape, fortran_order, dtype = read(start)
        size = file.stat().st_size
    except Exception as error:  # the parser can raise anything on a broken header
        raise DamagedError(
            f"{file}: cannot be read as npy ({type(error).__name__}); save it again with numpy.save"
        ) from error
    if dtype.hasobject:
        raise DamagedError(f"{file}: cannot be read as npy (Python objects); save HU or attenuation with numpy.save")
    if dtype.kind not in "iuf":
        raise SeriesError(f"{file}: is not an array of real numbers; save HU or attenuation with numpy.save")
    if len(shape) not in {2, 3} or min(shape) < 1 or sorted(shape)[-2] > MAX_SIDE or max(shape) > MAX_SLICES:
        meant = len(shape) == 3 and 0 not in shape  # a volume, although a broken one
        raise (DamagedError if meant else SeriesError)(
            f"{file}: shape is {shape}; must have two or three dimensions, 1 to {MAX_SIDE} rows and columns and up to "
            f"{MAX_SLICES} slices"
        )
    required = start.tell() + prod(shape) * dtype.itemsize
    if size < required:
        raise DamagedError(f"{file}: is {size} bytes, but its header requires {required}; copy it again")
    return _Stored(file, shape, dtype, start.tell(), fortran_order)


def _slices(info: SeriesInfo, picked: Sequence[int]) -> Iterator[NDArray[np.generic]]:
    """Yield slices (H, W) of a series.

    Raises:
        SeriesError: a file is missing, has changed or was truncated.
    """
    if not is_slices(info):
        array = _as_found(_open(info.path), info)
        yield from map(array.turned, _read(info.path, array.layout(info.slice_axis or 0), picked))
        return
    for index in picked:
        array = _as_found(_open(info.files[index]), info)
        volume = replace(array, shape=(1, *array.shape) if not array.fortran_order else (*array.shape, 1))
        layout = volume.layout(2 if array.fortran_order else 0)
        yield from map(array.turned, _read(array.file, layout, [0]))


def _read(file: Path, layout: Layout, picked: Sequence[int]) -> Iterator[NDArray[np.generic]]:
    try:
        with file.open("rb") as stream:
            yield from read_slices(stream, layout, picked)
    except (OSError, EOFError) as error:
        raise SeriesError(f"{file}: cannot be read ({type(error).__name__}); copy it again") from error


def _as_found(array: _Stored, info: SeriesInfo) -> _Stored:
    """Return the array if it still has the shape with which it was found.

    Raises:
        SeriesError: it has another shape.
    """
    axis = info.slice_axis
    expected = info.shape[1:] if axis is None else (*info.shape[1 : axis + 1], info.shape[0], *info.shape[axis + 1 :])
    if array.shape != expected:
        raise SeriesError(f"{array.file}: shape is {array.shape}, but was {expected} when it was found; scan it again")
    return array


def _slices_info(files: list[Path], scale: MuScale) -> SeriesInfo:
    ordered = sorted(files, key=_natural)
    shapes = {file: _open(file).shape for file in ordered}
    sizes = sorted(set(shapes.values()))
    if len(sizes) > 1:
        sizes_text = " and ".join("x".join(map(str, size)) for size in sizes[:3])
        raise SeriesError(f"{files[0].parent}: slices differ in size ({sizes_text} pixels); separate them")
    return _info(files[0].parent, tuple(ordered), (len(ordered), sizes[0][0], sizes[0][1]), scale)


def _volume_info(array: _Stored, scale: MuScale, slice_axis: int | None) -> SeriesInfo:
    """Return the series that a three-dimensional array forms.

    Raises:
        SeriesError: its sizes do not show which axis counts the slices.
    """
    axis = by_sizes(array.shape) if slice_axis is None else slice_axis
    if axis is None and max(array.shape) > 1:
        raise _UndecidedError(
            f"{array.file}: shape is {array.shape}, which does not show the axis of the slices; save one file per "
            "slice, or set slice_axis to 0, 1 or 2"
        )
    axis = axis or 0
    shape = (array.shape[axis], *(size for number, size in enumerate(array.shape) if number != axis))
    note = f"of shape {array.shape}, cut into {shape[0]} slices along axis {axis}; set slice_axis to cut it otherwise"
    notes = (note,) if axis and slice_axis is None else ()
    info = _info(array.file, (array.file,), (shape[0], shape[1], shape[2]), scale)
    return replace(info, slice_axis=axis, notes=notes)


def _info(path: Path, files: tuple[Path, ...], shape: tuple[int, int, int], scale: MuScale) -> SeriesInfo:
    return SeriesInfo(
        format="npy",
        path=path,
        files=files,
        uid="",
        shape=shape,
        spacing_mm=(0.0, 0.0, 0.0),
        positions_mm=_slice_numbers(files, shape[0]),
        kernel="",
        thickness_mm=0.0,
        patient_id="",
        mu_water=scale.water,
        mu_air=scale.air,
    )


def _slice_numbers(files: tuple[Path, ...], count: int) -> tuple[float, ...]:
    """Return the numbers in the file names if they are unique, otherwise 0, 1, 2."""
    found = [match for file in files if (match := _LAST_NUMBER.search(file.stem))]
    numbers = tuple(float(match.group()) for match in found)
    return numbers if len(set(numbers)) == count else tuple(float(index) for index in range(count))


def _natural(file: Path) -> list[tuple[int, int, str]]:
    """Return a sort key that puts 2 before 10."""
    parts: list[str] = re.findall(r"\d+|\D+", file.stem)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def _scale(info: SeriesInfo) -> tuple[float, float]:
    """Return slope and intercept to HU."""
    if not _is_attenuation(info):
        return 1.0, 0.0
    zero, one = mu_to_hu(np.array([0.0, 1.0]), info.mu_water, info.mu_air)
    return float(one - zero), float(zero)


def _is_attenuation(info: SeriesInfo) -> bool:
    """Return whether all values are between -1 and 1: attenuation stays below 1/mm even in metal, HU do not."""
    return all(bool(np.all(np.abs(values) < 1)) for values in _slices(info, range(info.shape[0])))


def _reason(error: SeriesError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
