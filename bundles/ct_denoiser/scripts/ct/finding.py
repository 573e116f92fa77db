# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Find CT series in any supported format under a folder, and say what else is there."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from scripts.ct import dicom, nifti, npy
from scripts.ct.dicom.headers import lacks_header, looks_like_dicom
from scripts.ct.hounsfield import MU_AIR, MU_WATER
from scripts.ct.series import SeriesInfo, Skipped
from scripts.errors import SeriesError

_CONTAINERS: dict[str, str] = {
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "an archive; unpack it and give the folder"),
    **dict.fromkeys((".nrrd", ".nhdr"), "an NRRD volume; convert it to .nii.gz, for example with SimpleITK"),
    **dict.fromkeys((".mha", ".mhd"), "a MetaImage volume; convert it to .nii.gz, for example with SimpleITK"),
    ".hdr": "the header of a pair (hdr, img); convert the pair to one .nii.gz file",
    ".img": "the voxels of a pair (hdr, img); convert the pair to one .nii.gz file",
}
_Kind = Literal["dicom", "nifti", "npy", "headless", "blank", "other"]


def find_series(
    root: Path,
    mu_water: float = MU_WATER,
    progress: Callable[[Path], object] | None = None,
    mu_air: float = MU_AIR,
    slice_axis: int | None = None,
) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Find every CT series in a file or under a folder, reading only headers.

    Args:
        root: a folder with any nesting, or one file. Hidden files and files that are not images are only counted.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation: all values between -1 and 1.
        progress: called with each image file before its header is read.
        mu_air: attenuation of air in 1/mm, likewise.
        slice_axis: the axis of stored arrays that NIfTI and npy volumes are cut along; None to choose it for each.

    Returns:
        The series sorted by path, and what was skipped, each with its reason.

    Raises:
        SeriesError: ``root`` does not exist.
    """
    if not root.exists():
        raise SeriesError(f"{root}: does not exist; give a folder or file of CT images")
    skipped: list[Skipped] = []
    kinds: dict[_Kind, list[Path]] = {"dicom": [], "nifti": [], "npy": [], "headless": [], "blank": [], "other": []}
    for file in _files(root, skipped) if root.is_dir() else [root]:
        kinds[_kind(file, skipped)].append(file)
    found: list[SeriesInfo] = []
    for infos, left_out in (
        dicom.find_series(_watched(kinds["dicom"], progress)),
        nifti.find_series(_watched(kinds["nifti"], progress), slice_axis),
        npy.find_series(_watched(kinds["npy"], progress), mu_water, mu_air, slice_axis),
    ):
        found.extend(infos)
        skipped.extend(left_out)
    reason = "incomplete DICOM file: missing 'DICM' prefix; re-export it or rewrite it with a DICOM toolkit"
    beside = {(file.parent, _suffix(file)) for file in kinds["dicom"]}
    blank = [file for file in kinds["blank"] if (file.parent, _suffix(file)) in beside]
    skipped.extend(Skipped(file, reason, damaged=True) for file in [*kinds["headless"], *blank])
    kinds["other"].extend(file for file in kinds["blank"] if file not in blank)
    kinds["other"] = [file for file in kinds["other"] if not _is_container(file, root, skipped)]
    if count := len(kinds["other"]):
        skipped.append(Skipped(root, f"ignored {count} file{'s' if count > 1 else ''} (hidden or not CT images)"))
    return sorted(found, key=lambda info: (info.path, info.uid, info.files)), skipped


def _watched(files: list[Path], progress: Callable[[Path], object] | None) -> Iterable[Path]:
    for file in files:
        if progress is not None:
            progress(file)
        yield file


def _files(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Yield every file under a folder in sorted order; a folder reachable by several links is visited once."""
    visited: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        skipped.append(Skipped(Path(error.filename), f"cannot open ({error.strerror})", damaged=True))

    for folder, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names))


def _kind(file: Path, skipped: list[Skipped]) -> _Kind:
    """Return the kind of a file from its first bytes, or from its name if they have no signature."""
    name = file.name.lower()
    if name.startswith(".") or not file.is_file() or name == "dicomdir":
        return "other"
    if name.endswith((".npy", *nifti.SUFFIXES)):
        return "npy" if name.endswith(".npy") else "nifti"
    try:
        with file.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        skipped.append(Skipped(file, f"cannot open ({error.strerror})", damaged=True))
        return "other"
    if looks_like_dicom(start):
        return "dicom"
    if lacks_header(start) or name.endswith((".dcm", ".ima", ".dicom")):
        return "headless"
    return "other" if start.strip(b"\0") else "blank"


def _suffix(file: Path) -> str:
    """Return the suffix in lower case; the last number of a file named by its UID is not a suffix."""
    suffix = file.suffix.lower()
    return "" if suffix[1:].isdecimal() else suffix


def _is_container(file: Path, root: Path, skipped: list[Skipped]) -> bool:
    """Return whether a file holds CT in a form that is not read; the reason says what to do with it."""
    reason = _CONTAINERS.get(file.suffix.lower(), "") if not file.name.startswith(".") and file.is_file() else ""
    if file == root and file.name.lower() == "dicomdir":
        reason = "DICOMDIR, only the index of a disc; give the folder that contains it"
    if reason:
        skipped.append(Skipped(file, reason))
    return bool(reason)
