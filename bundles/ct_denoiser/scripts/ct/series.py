# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""What a CT series is inside ctcycle: slices in HU, in the order of their position, with their geometry."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts.ct.hounsfield import MU_WATER
from scripts.errors import SeriesError

_MAX_SAMPLES = 1 << 22
Format = Literal["dicom", "nifti", "npy"]


@dataclass(frozen=True)
class SeriesInfo:
    """What a scan learns of a series without decoding a pixel.

    Attributes:
        format: how it is stored.
        path: the file (a NIfTI or npy volume), or the folder that holds the slices.
        files: every file of the series in slice order: by position along the normal (DICOM), by number (npy).
        uid: SeriesInstanceUID; empty where the format has none.
        shape: slices, rows, columns.
        spacing_mm: between slices, rows, columns; 0.0 where unknown (npy, a single slice).
        positions_mm: one per slice, along the slice normal; slice numbers where the format has no positions (npy).
        kernel: ConvolutionKernel, joined by "/" where multi-valued; empty where unknown.
        thickness_mm: SliceThickness; 0.0 where unknown.
        patient_id: the identity in the header, for grouping only, never shown, logged or written; empty if unknown.
        mu_water: attenuation of water in 1/mm, by which npy files that hold attenuation become HU.
    """

    format: Format
    path: Path
    files: tuple[Path, ...]
    uid: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    positions_mm: tuple[float, ...]
    kernel: str
    thickness_mm: float
    patient_id: str
    mu_water: float = MU_WATER

    def file_of(self, index: int) -> Path:
        """The file that holds slice ``index``, or the folder where several files hold several slices each."""
        if len(self.files) == self.shape[0]:
            return self.files[index]
        return self.files[0] if len(self.files) == 1 else self.path


@dataclass(frozen=True)
class Series:
    """A decoded series.

    Attributes:
        info: where it comes from, and its geometry.
        hu: (S, H, W) float32, in HU, slices in the order of ``info.files``.
        padding: (S, H, W) bool, True where padding stands instead of a measurement; None if there is none.
    """

    info: SeriesInfo
    hu: NDArray[np.float32]
    padding: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Skipped:
    """Something under a scanned folder that is not taken, and why.

    Attributes:
        path: the file, or the folder where a reason holds for several of its files.
        reason: one sentence without any identity.
        damaged: it should be an image, but is cut off, overwritten or out of reach: a series may miss it.
        uid: SeriesInstanceUID of what is damaged, or as much of it as can be read; may be empty.
        refused: it is a CT series, or a volume, and cannot be used: more than another thing that lies about.
    """

    path: Path
    reason: str
    damaged: bool = False
    uid: str = ""
    refused: bool = False


@dataclass(frozen=True)
class WriteOptions:
    """How a series may be written.

    Attributes:
        overwrite: whether an existing output may be replaced.
        keep_private: keeps the source's private DICOM elements, which may hold the patient's identity, or figures such
            as a noise level that are no longer true.
    """

    overwrite: bool = False
    keep_private: bool = False


def series_uid(info: SeriesInfo) -> str:
    """What tells a series from others of the same path; empty for a single file.

    For DICOM a hash of its UID, 16 hexadecimal digits: many scanners put their serial number and the date into a UID.
    For npy slices their name with ``#`` as the number.
    """
    if info.uid:
        return hashed(info.uid, 16)
    return "" if info.files == (info.path,) else re.sub(r"\d+(?=\D*$)", "#", info.files[0].stem)


def hashed(text: str, length: int) -> str:
    """A hash of ``length`` hexadecimal digits; the first is a letter, so that no spreadsheet takes it for a number."""
    digits = hashlib.blake2b(text.encode()).hexdigest()
    start = next((place for place, digit in enumerate(digits) if digit.isalpha()), 0)
    return (digits[start:] + digits)[:length]


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
