"""The door for real data: series of any format in, corrected series of the same format out, HU in between."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctcycle import dicom, nifti, npy
from ctcycle.dicom import Derivation
from ctcycle.dicom.headers import lacks_header, looks_like_dicom
from ctcycle.errors import OutputError, SeriesError
from ctcycle.hounsfield import MU_WATER
from ctcycle.npy import NpyUnit
from ctcycle.series import Series, SeriesInfo, Skipped
from ctcycle.stored import StoredValues

__all__ = ["Derivation", "NpyUnit", "check_hu", "find_series", "missing_from", "read_series", "write_corrected"]

_Kind = Literal["dicom", "nifti", "npy", "headless", "blank", "other"]
_MAX_SAMPLES = 1 << 22


def find_series(
    root: Path, npy_unit: NpyUnit = "auto", progress: Callable[[Path], object] | None = None
) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Every CT series under a folder, or in a file, from headers alone.

    Args:
        root: a folder, nested anyhow, or one file. Hidden files and files that are no images are ignored and counted.
        npy_unit: what npy files hold: files of integers cannot hold attenuation.
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
        npy.find_series(_watched(kinds["npy"], progress), npy_unit),
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


def missing_from(info: SeriesInfo, skipped: Iterable[Skipped]) -> Path | None:
    """A damaged file that may be a slice of a series, which then has a hole; None if there is none.

    Files beside the slices count, unless their SeriesInstanceUID (DICOM) or name (npy) says that they belong elsewhere.

    Args:
        info: from `find_series`.
        skipped: what `find_series` left out.
    """
    return next((entry.path for entry in skipped if entry.damaged and _may_belong(entry, info)), None)


def read_series(
    info: SeriesInfo, mu_water: float = MU_WATER, npy_unit: NpyUnit = "auto", assume_hu: bool = False
) -> Series:
    """Decodes a series.

    Args:
        info: from `find_series`.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        npy_unit: what npy files hold; ``auto`` takes numbers that all lie between -1 and 1 for attenuation.
        assume_hu: takes the numbers for HU even where they do not look like HU.

    Returns:
        The slices in HU; padding reads as air (-1024 HU) and is marked.

    Raises:
        SeriesError: a file is damaged or has changed, holds numbers that are not finite, or does not look like HU.
    """
    hu = np.empty(info.shape, dtype=np.float32)
    padding: NDArray[np.bool_] | None = None
    count = 0
    for stored in _read_stored(info, mu_water, npy_unit):
        hu[count] = stored.hu()[0]
        if not np.isfinite(hu[count]).all():
            raise SeriesError(
                f"{_slice_file(info, count)}: slice {count} holds NaN or infinity; repair or leave it out"
            )
        if stored.padding.any():
            padding = np.zeros(info.shape, dtype=np.bool_) if padding is None else padding
            padding[count] = stored.padding[0]
        count += 1
    if count != info.shape[0]:
        raise SeriesError(f"{info.path}: has {count} slices and had {info.shape[0]} when it was found; scan it again")
    series = Series(info, hu, padding)
    if not assume_hu:
        check_hu(series)
    return series


def check_hu(series: Series) -> None:
    """Refuses numbers that cannot be HU of a body.

    NIfTI and npy files say nothing of their unit: they must show air, and nothing brighter than metal. DICOM CT speaks
    HU by its rescale, so only stored values behind an empty rescale are refused.

    Args:
        series: decoded.

    Raises:
        SeriesError: with the range found and what it looks like.
    """
    measured = series.hu if series.padding is None else series.hu[~series.padding]
    sample = measured.reshape(-1)[:: max(1, measured.size // _MAX_SAMPLES)]
    if not sample.size:
        return
    low, high = (float(value) for value in np.percentile(sample, [1, 99]))
    if guess := _not_hu(series.info, low, high):
        raise SeriesError(
            f"{series.info.path}: does not look like HU (from {low:.4g} to {high:.4g}): {guess}; "
            "convert it, or say that it is HU (assume_hu)"
        )


def write_corrected(
    info: SeriesInfo,
    correction_hu: NDArray[np.float32],
    out: Path,
    derivation: Derivation,
    *,
    npy_unit: NpyUnit = "auto",
    mu_water: float = MU_WATER,
) -> list[Path]:
    """Writes a series with a correction added, in the format, type and order of its source.

    The stored numbers are the source's plus the rounded correction: where the correction is zero, and in padding, they
    are the source's bit for bit. A folder appears as a whole or not at all.

    Args:
        info: the source, from `find_series`.
        correction_hu: (S, H, W) float32, finite; what is to be added, in HU.
        out: for DICOM and npy slices the new folder, for a NIfTI or npy volume the new file (of the same suffix).
        derivation: what was done; with ``overwrite`` an earlier output is replaced.
        npy_unit: as for `read_series`.
        mu_water: as for `read_series`.

    Returns:
        The files written, in slice order.

    Raises:
        SeriesError: the correction does not fit the series, or the source cannot be read any more.
        OutputError: ``out`` exists, lies inside the source, has another suffix, or cannot be written.
    """
    if correction_hu.shape != info.shape or not np.isfinite(correction_hu).all():
        raise SeriesError(f"{info.path}: a correction of {correction_hu.shape} with finite numbers needs {info.shape}")
    _check_apart(info, out)
    if info.format == "nifti" or (info.format == "npy" and not npy.is_slices(info)):
        _check_new_file(info, out, derivation)
        if info.format == "nifti":
            nifti.write_corrected(info, correction_hu, out)
        else:
            npy.write_corrected(info, correction_hu, out, npy_unit, mu_water)
        return [out]
    with _new_folder(out, overwrite=derivation.overwrite) as folder:
        if info.format == "dicom":
            written = dicom.write_corrected(info, correction_hu, folder, derivation)
        else:
            written = npy.write_corrected(info, correction_hu, folder, npy_unit, mu_water)
    return [out / file.name for file in written]


def _may_belong(entry: Skipped, info: SeriesInfo) -> bool:
    if info.format == "npy":
        return entry.path.name.lower().endswith(".npy") and npy.may_belong(entry.path, info)
    if info.format == "nifti" or entry.path.name.lower().endswith((".npy", *nifti.SUFFIXES)):
        return False
    beside = entry.path == info.path or (entry.path.parent == info.path and not entry.path.is_dir())
    return beside and info.uid.startswith(entry.uid)


def _read_stored(info: SeriesInfo, mu_water: float, npy_unit: NpyUnit) -> Iterator[StoredValues]:
    if info.format == "dicom":
        return dicom.read_stored(info)
    return nifti.read_stored(info) if info.format == "nifti" else npy.read_stored(info, npy_unit, mu_water)


def _not_hu(info: SeriesInfo, low: float, high: float) -> str | None:
    """What numbers from ``low`` (1st percentile) to ``high`` (99th) look like, if not like HU."""
    if high > 10_000:
        return "too bright for CT; another unit, a rescale applied twice, or wrongly decoded"
    if high < -700:
        return "nothing but air; values reduced to 8 bits, or an empty scan"
    if info.format == "dicom":
        return "stored values without their intercept, such as -1024" if low >= 0 and high > 900 else None
    guesses = (
        (low <= -300, None),
        (low >= -0.1 and high < 1, "attenuation (1/mm or 1/cm) or values scaled to 0..1"),
        (low >= -1.01 and high <= 1.01, "values normalised to -1..1"),
        (low >= 0 and high <= 256, "values scaled to 0..255"),
        (low >= 0, "stored values without their intercept, such as -1024, or another scale"),
    )
    return next(
        (guess for applies, guess in guesses if applies), "no air in it, which every CT slice has around the body"
    )


def _slice_file(info: SeriesInfo, index: int) -> Path:
    return info.files[index] if len(info.files) > 1 else info.files[0]


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


def _check_apart(info: SeriesInfo, out: Path) -> None:
    """The output must not lie in the source folder, nor be the source."""
    source, target = info.path.resolve(), out.resolve()
    if target == source or source in target.parents or target in (file.resolve() for file in info.files):
        raise OutputError(f"{out}: is, or lies inside, the input {info.path}; choose a place outside of it")


def _check_new_file(info: SeriesInfo, out: Path, derivation: Derivation) -> None:
    suffixes = nifti.SUFFIXES if info.format == "nifti" else (".npy",)
    if not out.name.lower().endswith(suffixes):
        raise OutputError(f"{out}: must end in {' or '.join(suffixes)}, as its source does")
    if out.is_dir() or (out.exists() and not derivation.overwrite):
        raise OutputError(f"{out}: exists; choose another name or allow overwriting")


@contextmanager
def _new_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside ``out`` to fill, which takes its name when all went well and vanishes otherwise."""
    _check_replaceable(out, overwrite=overwrite)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        partial.mkdir(parents=True)
        yield partial
        _replace_folder(out, partial)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}); free or choose another place"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_replaceable(out: Path, *, overwrite: bool) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out}: exists and is not a folder; choose another name")
    entries = list(out.iterdir()) if out.exists() else []
    if entries and not overwrite:
        raise OutputError(f"{out}: exists and is not empty; choose another name or allow overwriting")
    foreign = [entry for entry in entries if entry.suffix not in {".dcm", ".npy"} or not entry.is_file()]
    if foreign:
        raise OutputError(f"{out}: holds {foreign[0].name}, which no earlier run wrote; choose another folder")


def _replace_folder(out: Path, partial: Path) -> None:
    """Gives ``partial`` the name ``out``; an earlier folder of that name goes once the new one stands."""
    if not out.exists():
        partial.rename(out)
        return
    earlier = partial.with_name(f"{partial.name}-earlier")
    out.rename(earlier)
    try:
        partial.rename(out)
    except OSError:
        earlier.rename(out)
        raise
    shutil.rmtree(earlier, ignore_errors=True)
