# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Read and write CT series in any supported format, with slices in HU."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts import atomic
from scripts.ct import dicom, nifti, npy
from scripts.ct.dicom import Derivation
from scripts.ct.finding import find_series
from scripts.ct.series import Format, Series, SeriesInfo, WriteOptions, check_hu
from scripts.ct.stored_values import StoredValues
from scripts.errors import OutputError, SeriesError

__all__ = [
    "Derivation",
    "WriteOptions",
    "as_written",
    "check_apart",
    "check_hu",
    "find_series",
    "iterate_hu",
    "read_series",
    "sample_slices",
    "write_corrected",
    "write_map",
]

_Slice = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""HU and padding mask, (H, W) each."""

_Reader = Callable[[SeriesInfo, Sequence[int]], Iterator[StoredValues]]
_Writer = Callable[[SeriesInfo, Iterable[NDArray[np.float32]], Path], list[Path]]
_DEFAULT = WriteOptions()
_OFFSET_HU = 300.0
_ENOUGH_PIXELS = 64


def read_series(info: SeriesInfo, assume_hu: bool = False) -> Series:
    """Decode a whole series.

    Args:
        info: from `find_series`.
        assume_hu: accept values that do not look like HU.

    Returns:
        The slices in HU; padding reads as air (-1024 HU) and is marked.

    Raises:
        SeriesError: a file is damaged or has changed, or its values are not finite or do not look like HU.
    """
    series = _stacked(info, info.shape[0], _decoded(info, assume_hu=assume_hu))
    if not assume_hu:
        check_hu(series)
    return series


def sample_slices(info: SeriesInfo, count: int = 16) -> Series:
    """Decode a sample of slices spread evenly over a series.

    Args:
        info: from `find_series`.
        count: maximum number of slices.

    Returns:
        The slices in HU, in order; ``info`` describes the whole series.

    Raises:
        SeriesError: as for `read_series`, except that values may not look like HU.
    """
    picked = np.unique(np.linspace(0, info.shape[0] - 1, min(count, info.shape[0])).round().astype(int)).tolist()
    return _stacked(info, len(picked), _decoded(info, picked))


def iterate_hu(info: SeriesInfo, assume_hu: bool = False) -> Iterator[NDArray[np.float32]]:
    """Yield the slices of a series one by one, (H, W) float32 in HU; memory use does not grow with the series.

    Args:
        info: from `find_series`.
        assume_hu: accept a slice that is far off the one before it.

    Raises:
        SeriesError: as for `read_series`, except that values may not look like HU.
    """
    return (hu for hu, _padding in _decoded(info, assume_hu=assume_hu))


def write_corrected(
    info: SeriesInfo,
    corrections: Iterable[NDArray[np.float32]],
    out: Path,
    derivation: Derivation,
    options: WriteOptions = _DEFAULT,
) -> list[Path]:
    """Write a series with corrections added, in the format, data type and order of its source.

    The stored values are the source's plus the rounded correction. They equal the source bit for bit in padding and
    where the correction is zero. A folder is written atomically.

    Args:
        info: the source, from `find_series`.
        corrections: (H, W) float32 for each slice, finite, to be added, in HU; consumed one by one.
        out: a new folder for DICOM or npy slices, a new file with the source's suffix for a NIfTI or npy volume.
        derivation: how the output was made.
        options: whether to keep private elements.

    Returns:
        The written files, in slice order.

    Raises:
        SeriesError: a correction does not fit the series, or the source can no longer be read.
        OutputError: ``out`` exists, is inside the source, has another suffix, or cannot be written.
    """
    to_dicom = partial(dicom.write_corrected, derivation=derivation, keep_private=options.keep_private)
    to_nifti = partial(nifti.write_corrected, kind="denoised" if derivation.kind == "denoised" else "")
    writers: dict[Format, _Writer] = {"dicom": to_dicom, "nifti": to_nifti, "npy": npy.write_corrected}
    return _write(info, corrections, out, writers[info.format])


def write_map(
    info: SeriesInfo,
    maps: Iterable[NDArray[np.float32]],
    out: Path,
    derivation: Derivation,
    options: WriteOptions = _DEFAULT,
) -> list[Path]:
    """Write a map over a series (a residual or an uncertainty) in its format and geometry.

    DICOM stores it with the source's rescale, rounded; NIfTI and npy store float32 HU.

    Args:
        info: the series, from `find_series`.
        maps: (H, W) float32 for each slice, finite, in HU; consumed one by one.
        out: as for `write_corrected`.
        derivation: what the map shows.
        options: as for `write_corrected`.

    Returns and raises the same as `write_corrected`.
    """
    to_dicom = partial(dicom.write_map, derivation=derivation, keep_private=options.keep_private)
    to_nifti = partial(nifti.write_map, kind=derivation.kind)
    writers: dict[Format, _Writer] = {"dicom": to_dicom, "nifti": to_nifti, "npy": npy.write_map}
    return _write(info, maps, out, writers[info.format])


def as_written(info: SeriesInfo, out: Path) -> SeriesInfo:
    """Return the series that `write_corrected` wrote from ``info`` to ``out``."""
    if not _is_folder(info):
        return replace(info, path=out, files=(out,))
    files = (out / file.name for file in info.files) if info.format == "npy" else sorted(out.glob("*.dcm"))
    return replace(info, path=out, files=tuple(files))


def _is_folder(info: SeriesInfo) -> bool:
    """Return whether a series is a folder of slices rather than a single file."""
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


def _decoded(info: SeriesInfo, picked: Sequence[int] = (), *, assume_hu: bool = False) -> Iterator[_Slice]:
    """Yield HU and padding of each slice, or only of the picked ones.

    Raises:
        SeriesError: a slice holds values that are not finite, or (unless ``assume_hu``) is far off the one before it.
    """
    compared = info.is_volume and not picked and not assume_hu  # only neighbours show the same anatomy
    previous: NDArray[np.float32] | None = None
    for number, stored in _stored(info, picked or range(info.shape[0])):
        hu = stored.hu()[0]
        if not np.isfinite(hu).all():
            raise SeriesError(f"{info.file_of(number)}: slice {number} contains NaN or infinity; repair or remove it")
        measured = np.where(stored.padding[0], np.nan, hu)[::4, ::4]
        if compared and previous is not None and (offset := _offset(previous, measured)):
            raise SeriesError(
                f"{info.file_of(number)}: slice {number} is {offset:.0f} HU off the slice before it in nearly every "
                "pixel; correct the rescale of one of them"
            )
        previous = measured
        yield hu, stored.padding[0]


def _offset(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Return the offset between two slices if nearly all pixels differ by a lot, which anatomy never does; else 0."""
    difference = (after - before)[np.isfinite(after) & np.isfinite(before)]
    if difference.size < _ENOUGH_PIXELS:
        return 0.0
    low, middle, high = (float(value) for value in np.percentile(difference, [5, 50, 95]))
    return middle if low > _OFFSET_HU or high < -_OFFSET_HU else 0.0


def _stored(info: SeriesInfo, picked: Sequence[int]) -> Iterator[tuple[int, StoredValues]]:
    """Yield index and stored values of the picked slices; the others are not decoded.

    Raises:
        SeriesError: a file has changed since it was found.
    """
    readers: dict[Format, _Reader] = {
        "dicom": dicom.read_stored,
        "nifti": nifti.read_stored,
        "npy": npy.read_stored,
    }
    yield from zip(picked, readers[info.format](info, picked), strict=True)


def _checked(info: SeriesInfo, images: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield the images to be written, after checking their number and shape.

    Raises:
        SeriesError: an image does not fit the series, or there are too few or too many.
    """
    count = 0
    for count, image in enumerate(images, start=1):
        if count > info.shape[0]:
            break
        if image.shape != info.shape[1:] or not np.isfinite(image).all():
            found = "NaN or infinity" if image.shape == info.shape[1:] else f"shape {image.shape}"
            raise SeriesError(f"{info.path}: new slice {count - 1} has {found}; must be finite and {info.shape[1:]}")
        yield image
    if count != info.shape[0]:
        raise SeriesError(f"{info.path}: got {count} slices to write, but the series has {info.shape[0]}")


def _write(info: SeriesInfo, images: Iterable[NDArray[np.float32]], out: Path, write: _Writer) -> list[Path]:
    """Check the output path, then let ``write`` create the file or fill the folder."""
    check_apart(info, out)
    checked = _checked(info, images)
    if not _is_folder(info):
        _check_new_file(info, out)
        return write(info, checked, out)
    with atomic.new_folder(out) as folder:
        written = write(info, checked, folder)
    return [out / file.name for file in written]


def check_apart(info: SeriesInfo, out: Path) -> None:
    """Check that an output is neither the source nor inside the source folder.

    Raises:
        OutputError: it is.
    """
    source, target = info.path.resolve(), out.resolve()
    if target == source or source in target.parents or target in (file.resolve() for file in info.files):
        raise OutputError(f"{out}: is the input {info.path} or inside it; choose a location outside it")


def _check_new_file(info: SeriesInfo, out: Path) -> None:
    suffixes = nifti.SUFFIXES if info.format == "nifti" else (".npy",)
    if not out.name.lower().endswith(suffixes):
        raise OutputError(f"{out}: must end in {' or '.join(suffixes)}, like its source")
    if out.exists() or out.is_symlink():
        raise OutputError(f"{out}: already exists; choose another name")
