# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The door for real data: series of any format in, corrected series of the same format out, HU in between."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts import atomic
from scripts.ct import dicom, nifti, npy
from scripts.ct.dicom import Derivation
from scripts.ct.dicom.headers import lacks_header, looks_like_dicom
from scripts.ct.hounsfield import MU_WATER
from scripts.ct.series import Format, Series, SeriesInfo, Skipped, WriteOptions, check_hu
from scripts.ct.stored_values import StoredValues
from scripts.errors import OutputError, SeriesError

__all__ = [
    "Derivation",
    "WriteOptions",
    "as_written",
    "check_hu",
    "find_series",
    "iterate_hu",
    "read_series",
    "sample_slices",
    "write_corrected",
    "write_map",
]

_Kind = Literal["dicom", "nifti", "npy", "headless", "blank", "other"]
_Slice = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""HU and padding, (H, W) each."""

_Writer = Callable[[SeriesInfo, Iterable[NDArray[np.float32]], Path], list[Path]]
_DEFAULT = WriteOptions()


def find_series(
    root: Path, mu_water: float = MU_WATER, progress: Callable[[Path], object] | None = None
) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Every CT series under a folder, or in a file, from headers alone.

    Args:
        root: a folder, nested anyhow, or one file. Hidden files and files that are no images are ignored and counted.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation: all numbers between -1 and 1.
        progress: called with each image file before its header is read.

    Returns:
        The series by path, and what was left out, each with its reason.

    Raises:
        SeriesError: ``root`` does not exist.
    """
    if not root.exists():
        raise SeriesError(f"{root}: does not exist; name a folder or a file of CT images")
    skipped: list[Skipped] = []
    kinds: dict[_Kind, list[Path]] = {"dicom": [], "nifti": [], "npy": [], "headless": [], "blank": [], "other": []}
    for file in _files(root, skipped) if root.is_dir() else [root]:
        kinds[_kind(file, skipped)].append(file)
    found: list[SeriesInfo] = []
    for infos, left_out in (
        dicom.find_series(_watched(kinds["dicom"], progress)),
        nifti.find_series(_watched(kinds["nifti"], progress)),
        npy.find_series(_watched(kinds["npy"], progress), mu_water),
    ):
        found.extend(infos)
        skipped.extend(left_out)
    reason = "not a whole DICOM file: its 'DICM' mark is missing; export it again or rewrite it with a DICOM toolkit"
    beside = {(file.parent, _suffix(file)) for file in kinds["dicom"]}
    blank = [file for file in kinds["blank"] if (file.parent, _suffix(file)) in beside]
    skipped.extend(Skipped(file, reason, damaged=True) for file in [*kinds["headless"], *blank])
    kinds["other"].extend(file for file in kinds["blank"] if file not in blank)
    if kinds["other"]:
        skipped.append(Skipped(root, f"files that are no CT images or hidden, ignored: {len(kinds['other'])}"))
    return sorted(found, key=lambda info: (info.path, info.uid, info.files)), skipped


def read_series(info: SeriesInfo, assume_hu: bool = False) -> Series:
    """Decodes a series as a whole.

    Args:
        info: from `find_series`.
        assume_hu: takes the numbers for HU even where they do not look like HU.

    Returns:
        The slices in HU; padding reads as air (-1024 HU) and is marked.

    Raises:
        SeriesError: a file is damaged or has changed, holds numbers that are not finite, or does not look like HU.
    """
    series = _stacked(info, info.shape[0], _decoded(info))
    if not assume_hu:
        check_hu(series)
    return series


def sample_slices(info: SeriesInfo, count: int = 16) -> Series:
    """Decodes slices that are spread evenly over a series: enough to know it by, whatever its length.

    Args:
        info: from `find_series`.
        count: slices at most.

    Returns:
        The slices in HU, in order; ``info`` is that of the whole series.

    Raises:
        SeriesError: as for `read_series`, but for the look of the numbers.
    """
    picked = np.unique(np.linspace(0, info.shape[0] - 1, min(count, info.shape[0])).round().astype(int)).tolist()
    return _stacked(info, len(picked), _decoded(info, picked))


def iterate_hu(info: SeriesInfo) -> Iterator[NDArray[np.float32]]:
    """The slices of a series one by one, (H, W) float32 in HU: a long series needs no more memory than a short one.

    DICOM and npy are read slice by slice; a NIfTI volume stays in memory as it is stored.

    Args:
        info: from `find_series`.

    Raises:
        SeriesError: as for `read_series`, but for the look of the numbers.
    """
    return (hu for hu, _padding in _decoded(info))


def write_corrected(
    info: SeriesInfo,
    corrections: Iterable[NDArray[np.float32]],
    out: Path,
    derivation: Derivation,
    options: WriteOptions = _DEFAULT,
) -> list[Path]:
    """Writes a series with corrections added, in the format, type and order of its source.

    The stored numbers are the source's plus the rounded correction: where the correction is zero, and in padding, they
    are the source's bit for bit. A folder appears as a whole or not at all.

    Args:
        info: the source, from `find_series`.
        corrections: (H, W) float32 for each slice, finite; what is to be added, in HU. Taken one by one.
        out: for DICOM and npy slices the new folder, for a NIfTI or npy volume the new file (of the same suffix).
        derivation: what was done.
        options: whether an earlier output is replaced, and private elements are kept.

    Returns:
        The files written, in slice order.

    Raises:
        SeriesError: a correction does not fit the series, or the source cannot be read any more.
        OutputError: ``out`` exists, lies inside the source, has another suffix, or cannot be written.
    """
    to_dicom = partial(dicom.write_corrected, derivation=derivation, keep_private=options.keep_private)
    writers: dict[Format, _Writer] = {"dicom": to_dicom, "nifti": nifti.write_corrected, "npy": npy.write_corrected}
    return _put(info, corrections, out, writers[info.format], overwrite=options.overwrite)


def write_map(
    info: SeriesInfo,
    maps: Iterable[NDArray[np.float32]],
    out: Path,
    derivation: Derivation,
    options: WriteOptions = _DEFAULT,
) -> list[Path]:
    """Writes numbers that belong to a series (what was removed, an uncertainty) in its format and geometry.

    DICOM stores them through the rescale of the source, rounded; NIfTI and npy as float32, in HU.

    Args:
        info: the series, from `find_series`.
        maps: (H, W) float32 for each slice, finite, in HU. Taken one by one.
        out: as for `write_corrected`.
        derivation: what the numbers are.
        options: as for `write_corrected`.

    Returns and raises what `write_corrected` does.
    """
    to_dicom = partial(dicom.write_map, derivation=derivation, keep_private=options.keep_private)
    writers: dict[Format, _Writer] = {"dicom": to_dicom, "nifti": nifti.write_map, "npy": npy.write_map}
    return _put(info, maps, out, writers[info.format], overwrite=options.overwrite)


def as_written(info: SeriesInfo, out: Path) -> SeriesInfo:
    """The series that `write_corrected` made of ``info`` at ``out``."""
    if not _is_folder(info):
        return replace(info, path=out, files=(out,))
    files = (out / file.name for file in info.files) if info.format == "npy" else sorted(out.glob("*.dcm"))
    return replace(info, path=out, files=tuple(files))


def _is_folder(info: SeriesInfo) -> bool:
    """Whether a series is a folder of slices, not one file that holds them all."""
    return info.format == "dicom" or (info.format == "npy" and npy.is_slices(info))


def _stacked(info: SeriesInfo, count: int, slices: Iterable[_Slice]) -> Series:
    hu = np.empty((count, *info.shape[1:]), dtype=np.float32)
    padding: NDArray[np.bool_] | None = None
    for number, (image, padded) in enumerate(slices):
        hu[number] = image
        if padded.any():
            padding = np.zeros(hu.shape, dtype=np.bool_) if padding is None else padding
            padding[number] = padded
    return Series(info, hu, padding)


def _decoded(info: SeriesInfo, picked: Sequence[int] = ()) -> Iterator[_Slice]:
    """HU and padding of each slice, or of those that are picked.

    Raises:
        SeriesError: a slice holds numbers that are not finite.
    """
    for number, stored in _stored(info, picked or range(info.shape[0])):
        hu = stored.hu()[0]
        if not np.isfinite(hu).all():
            raise SeriesError(f"{info.file_of(number)}: slice {number} holds NaN or infinity; repair or leave it out")
        yield hu, stored.padding[0]


def _stored(info: SeriesInfo, picked: Sequence[int]) -> Iterator[tuple[int, StoredValues]]:
    """Number and stored values of the slices that are picked; the others are not decoded.

    Raises:
        SeriesError: a file has changed since it was found.
    """
    if info.format == "dicom":
        yield from zip(picked, dicom.read_stored(info, picked), strict=True)
        return
    count = 0
    for stored in nifti.read_stored(info) if info.format == "nifti" else npy.read_stored(info):
        if count in picked:
            yield count, stored
        count += 1
    if count != info.shape[0]:
        raise SeriesError(f"{info.path}: has {count} slices and had {info.shape[0]} when it was found; scan it again")


def _checked(info: SeriesInfo, images: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The images to be written, as many and as large as the series needs.

    Raises:
        SeriesError: they are not.
    """
    count = 0
    for count, image in enumerate(images, start=1):
        if count > info.shape[0]:
            break
        if image.shape != info.shape[1:] or not np.isfinite(image).all():
            raise SeriesError(
                f"{info.path}: what is to be written to slice {count - 1} is {image.shape} or not finite; "
                f"finite numbers of {info.shape[1:]} are needed"
            )
        yield image
    if count != info.shape[0]:
        raise SeriesError(f"{info.path}: {count} slices are to be written; it has {info.shape[0]}, and needs as many")


def _watched(files: list[Path], progress: Callable[[Path], object] | None) -> Iterable[Path]:
    for file in files:
        if progress is not None:
            progress(file)
        yield file


def _files(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Every file under a folder, folder by folder in order; a folder that links lead to twice is visited once."""
    visited: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        skipped.append(Skipped(Path(error.filename), f"cannot be opened ({error.strerror})", damaged=True))

    for folder, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names))


def _kind(file: Path, skipped: list[Skipped]) -> _Kind:
    """What a file is, by its first bytes; by its name only where the format has no mark or the mark is missing."""
    name = file.name.lower()
    if name.startswith(".") or not file.is_file() or name == "dicomdir":
        return "other"
    if name.endswith((".npy", *nifti.SUFFIXES)):
        return "npy" if name.endswith(".npy") else "nifti"
    try:
        with file.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        skipped.append(Skipped(file, f"cannot be opened ({error.strerror})", damaged=True))
        return "other"
    if looks_like_dicom(start):
        return "dicom"
    if lacks_header(start) or name.endswith((".dcm", ".ima", ".dicom")):
        return "headless"
    return "other" if start.strip(b"\0") else "blank"


def _suffix(file: Path) -> str:
    """A file's suffix, lower case; the last number of a UID that serves as a name is none."""
    suffix = file.suffix.lower()
    return "" if suffix[1:].isdecimal() else suffix


def _put(
    info: SeriesInfo, images: Iterable[NDArray[np.float32]], out: Path, write: _Writer, *, overwrite: bool
) -> list[Path]:
    """Lets ``write`` make the new file, or fill the new folder."""
    _check_apart(info, out)
    checked = _checked(info, images)
    if not _is_folder(info):
        _check_new_file(info, out, overwrite=overwrite)
        return write(info, checked, out)
    if overwrite:
        _check_own_folder(out)
    with atomic.new_folder(out, may_replace=overwrite) as folder:
        written = write(info, checked, folder)
    return [out / file.name for file in written]


def _check_apart(info: SeriesInfo, out: Path) -> None:
    """The output must not lie in the source folder, nor be the source."""
    source, target = info.path.resolve(), out.resolve()
    if target == source or source in target.parents or target in (file.resolve() for file in info.files):
        raise OutputError(f"{out}: is, or lies inside, the input {info.path}; choose a place outside of it")


def _check_own_folder(out: Path) -> None:
    """A folder with anything but slices in it was not written here, and must not be replaced."""
    entries = out.iterdir() if out.is_dir() else ()
    foreign = next((entry for entry in entries if entry.suffix not in {".dcm", ".npy"} or not entry.is_file()), None)
    if foreign is not None:
        raise OutputError(f"{out}: holds {foreign.name}, which no earlier run wrote; choose another folder")


def _check_new_file(info: SeriesInfo, out: Path, *, overwrite: bool) -> None:
    suffixes = nifti.SUFFIXES if info.format == "nifti" else (".npy",)
    if not out.name.lower().endswith(suffixes):
        raise OutputError(f"{out}: must end in {' or '.join(suffixes)}, as its source does")
    if out.is_dir() or (out.exists() and not overwrite):
        raise OutputError(f"{out}: exists; choose another name or allow overwriting")
