"""NumPy files: a folder of two-dimensional slices or one three-dimensional array, in HU or attenuation (1/mm)."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ctcycle import atomic
from ctcycle.ct.hounsfield import MU_AIR, MU_WATER, MuScale, mu_to_hu
from ctcycle.ct.series import SeriesInfo, Skipped
from ctcycle.ct.stored_values import StoredValues, integer_limits
from ctcycle.errors import DamagedError, SeriesError

_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")


def find_series(
    files: Iterable[Path], mu_water: float = MU_WATER, mu_air: float = MU_AIR
) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Return the series in npy files, reading only the headers.

    Slices in one folder form a series if their names differ only in the last number (``0001.npy``, ``0002.npy``;
    ``L067_0_input.npy`` and ``L067_0_target.npy`` are two series); they are ordered by that number.

    Args:
        files: candidate npy files, from any folders.
        mu_water: attenuation of water in 1/mm, stored with each series.
        mu_air: attenuation of air in 1/mm, likewise.

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
        except SeriesError as error:
            skipped.append(Skipped(file, _reason(error, file), isinstance(error, DamagedError)))
            continue
        if array.ndim == 3:
            found.append(_info(file, (file,), array.shape, scale))
        else:
            slices.setdefault(_series_key(file), []).append(file)
    for group in slices.values():
        try:
            found.append(_slices_info(group, scale))
        except SeriesError as error:
            folder = group[0].parent
            skipped.append(Skipped(folder, _reason(error, folder), refused=True))
    return found, skipped


def read_stored(info: SeriesInfo) -> Iterator[StoredValues]:
    """Yield the stored values slice by slice, each (1, H, W); a series with all values below 1 is attenuation.

    Args:
        info: a series of npy files.

    Raises:
        SeriesError: a file is missing, has changed shape or is not a numeric array.
    """
    slope, intercept = _scale(info)
    for file in info.files:
        for values in _open_slices(file):
            if values.shape != info.shape[1:]:
                raise SeriesError(
                    f"{file}: shape is {values.shape}, but was {info.shape[1:]} when it was found; scan it again"
                )
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
    return _write_slices(info, (stored.corrected(step[None])[0] for stored, step in pairs), out)


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
    return _write_slices(info, maps, out)


def is_slices(info: SeriesInfo) -> bool:
    """Return whether a series is a folder of slices rather than one three-dimensional file."""
    return info.files[0] != info.path


def may_belong(file: Path, info: SeriesInfo) -> bool:
    """Return whether a file, judging by its folder and name, would be a slice of a series."""
    return is_slices(info) and _series_key(file) == _series_key(info.files[0])


def _series_key(file: Path) -> tuple[Path, str]:
    """Return what the slices of one series share: the folder, and the name without its last number."""
    return file.parent, _LAST_NUMBER.sub("#", file.stem)


def _write_slices(info: SeriesInfo, slices: Iterable[NDArray[np.generic]], out: Path) -> list[Path]:
    if not is_slices(info):
        atomic.write_file(out, lambda stream: _write_volume(stream, info.shape, slices))
        return [out]
    files = [out / file.name for file in info.files]
    for file, values in zip(files, slices, strict=True):
        atomic.write_file(file, lambda stream, values=values: np.lib.format.write_array(stream, values))  # type: ignore[misc]
    return files


def _write_volume(stream: IO[bytes], shape: tuple[int, ...], slices: Iterable[NDArray[np.generic]]) -> None:
    """Write a volume slice by slice, so that it is never entirely in memory."""
    for number, values in enumerate(slices):
        if number == 0:
            described = np.lib.format.dtype_to_descr(values.dtype)
            header = {"descr": described, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
        stream.write(values.tobytes())


def _open(file: Path) -> NDArray[np.generic]:
    """Return the memory-mapped array: two- or three-dimensional, real numbers."""
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DamagedError(
            f"{file}: cannot be read as npy ({type(error).__name__}); save it again with numpy.save"
        ) from error
    if array.dtype.kind not in "iuf":
        raise SeriesError(f"{file}: is not an array of real numbers; save HU or attenuation with numpy.save")
    if array.ndim not in {2, 3} or 0 in array.shape:
        raise SeriesError(f"{file}: shape is {array.shape}; must have two or three dimensions")
    return array


def _open_slices(file: Path) -> Iterator[NDArray[np.generic]]:
    """Yield the slices (H, W) of a file."""
    array = _open(file)
    yield from np.asarray(array)[None] if array.ndim == 2 else np.asarray(array)


def _slices_info(files: list[Path], scale: MuScale) -> SeriesInfo:
    ordered = sorted(files, key=_natural)
    shapes = {file: _open(file).shape for file in ordered}
    sizes = sorted(set(shapes.values()))
    if len(sizes) > 1:
        sizes_text = " and ".join("x".join(map(str, size)) for size in sizes[:3])
        raise SeriesError(f"{files[0].parent}: slices differ in size ({sizes_text} pixels); separate them")
    return _info(files[0].parent, tuple(ordered), (len(ordered), *sizes[0]), scale)


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
    return all(bool(np.all(np.abs(values) < 1)) for file in info.files for values in _open_slices(file))


def _reason(error: SeriesError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
