# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The CT series as ctcycle represents it: slices in HU, ordered by position, with their geometry."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts.ct.hounsfield import MU_AIR, MU_WATER
from scripts.errors import SeriesError

_MAX_SAMPLES = 1 << 22
_SQUARE = 0.01
Format = Literal["dicom", "nifti", "npy"]


@dataclass(frozen=True)
class SlicePlane:
    """The orientation and location of the slices of a series, in mm in DICOM's patient coordinates.

    Attributes:
        directions: direction cosines of a row, then of a column, as in ImageOrientationPatient.
        corners_mm: for each slice, the centre of its first pixel, as in ImagePositionPatient.
    """

    directions: tuple[float, ...]
    corners_mm: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class SeriesInfo:
    """The description of a series from its headers, without decoding any pixels.

    Attributes:
        format: the file format.
        path: the file (a NIfTI or npy volume), or the folder that holds the slices.
        files: every file of the series in slice order: by position along the normal (DICOM), by number (npy).
        uid: SeriesInstanceUID; empty if the format has none.
        shape: slices, rows, columns.
        spacing_mm: between slices, rows, columns; 0.0 if unknown (npy, a single slice).
        positions_mm: one per slice, along the slice normal; slice numbers if the format has no positions (npy).
        kernel: ConvolutionKernel, multiple values joined by "/"; empty if unknown.
        thickness_mm: SliceThickness; 0.0 if unknown.
        patient_id: the PatientID, used only for grouping and never shown, logged or written; empty if unknown.
        mu_water: attenuation of water in 1/mm, used to convert npy files that hold attenuation to HU.
        plane: orientation and location of the slices; None if unknown (npy).
        slice_axis: axis of the stored array that the slices are cut along (a NIfTI or npy volume); None otherwise.
        made_by: "denoised", "residual" or "uncertainty" if ctcycle made the series; otherwise empty.
        notes: sentences about what is unusual, for the user; they identify no patient.
        mu_air: attenuation of air in 1/mm, used as ``mu_water`` is.
        study_uid: StudyInstanceUID, used as ``patient_id`` is; empty if unknown.
        frame_uid: FrameOfReferenceUID, likewise.
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
    plane: SlicePlane | None = None
    mu_air: float = MU_AIR
    slice_axis: int | None = None
    made_by: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)
    study_uid: str = ""
    frame_uid: str = ""

    @property
    def is_volume(self) -> bool:
        """Whether each position has one slice, unlike in phases, repeats or a time series."""
        return len(set(self.positions_mm)) == len(self.positions_mm)

    def file_of(self, index: int) -> Path:
        """Return the file that holds slice ``index``, or the folder if several files hold several slices each."""
        if len(self.files) == self.shape[0]:
            return self.files[index]
        return self.files[0] if len(self.files) == 1 else self.path


@dataclass(frozen=True)
class Series:
    """A decoded series.

    Attributes:
        info: its source and geometry.
        hu: (S, H, W) float32, in HU, slices in the order of ``info.files``.
        padding: (S, H, W) bool, True where a pixel is padding, not a measurement; None if no pixel is.
    """

    info: SeriesInfo
    hu: NDArray[np.float32]
    padding: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was skipped, and why.

    Attributes:
        path: the file, or its folder if the reason applies to several files.
        reason: one sentence that identifies no patient.
        damaged: it should be an image but is truncated, overwritten or unreadable, so a series may have a gap.
        uid: SeriesInstanceUID of a damaged file, or as much of it as can be read; may be empty.
        refused: it is a CT series or volume that cannot be used, as opposed to an unrelated file.
    """

    path: Path
    reason: str
    damaged: bool = False
    uid: str = ""
    refused: bool = False


@dataclass(frozen=True)
class WriteOptions:
    """Options for writing a series.

    Attributes:
        keep_private: whether to keep the source's private DICOM elements, which may identify the patient or hold values
            that no longer apply, such as a noise level.
    """

    keep_private: bool = False


def pixel_note(rows_mm: float, columns_mm: float) -> str:
    """Return a sentence about pixels that are not square; empty if they are, or their size is unknown.

    Args:
        rows_mm: distance between rows; 0.0 if unknown.
        columns_mm: distance between columns; 0.0 if unknown.
    """
    low, high = sorted((rows_mm, columns_mm))
    if not low or high <= low * (1 + _SQUARE):
        return ""
    return (
        f"has pixels of {rows_mm:.3g} x {columns_mm:.3g} mm, but denoisers are trained on square ones; resample it to "
        "square pixels, or denoise slices of another plane"
    )


def series_uid(info: SeriesInfo) -> str:
    """Return an identifier that distinguishes a series from others with the same path; empty for a single file.

    For DICOM: a hash of the UID, 16 hexadecimal digits, since many scanners put their serial number and the date into
    UIDs. For npy slices: the file name with ``#`` in place of the number.
    """
    if info.uid:
        return hashed(info.uid, 16)
    return "" if info.files == (info.path,) else re.sub(r"\d+(?=\D*$)", "#", info.files[0].stem)


def source_digest(info: SeriesInfo) -> str:
    """Return the SHA-256 of a series: of the bytes of its files in slice order, so of its pixels and all its headers.

    Raises:
        SeriesError: a file cannot be read.
    """
    found = hashlib.sha256()
    for file in info.files:
        try:
            with file.open("rb") as stream:
                found.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise SeriesError(f"{file}: cannot read ({error.strerror}); copy it again") from error
        if info.format == "npy":
            found.update(file.name.encode(errors="surrogateescape"))  # the output gets the same name
    return found.hexdigest()


def hashed(text: str, length: int) -> str:
    """Return a hash of ``length`` hexadecimal digits; it starts with a letter, so spreadsheets keep it as text."""
    digits = hashlib.blake2b(text.encode(errors="surrogatepass")).hexdigest()
    start = next((index for index, digit in enumerate(digits) if digit.isalpha()), 0)
    return (digits[start:] + digits)[:length]


def check_hu(series: Series) -> None:
    """Refuse values that cannot be HU of a body.

    NIfTI and npy files do not record their unit, so they must contain air and nothing brighter than metal. DICOM CT
    defines HU by its rescale, so only stored values with an empty rescale are refused.

    Args:
        series: a decoded series.

    Raises:
        SeriesError: the values do not look like HU; the message gives their range and the likely unit.
    """
    measured = series.hu if series.padding is None else series.hu[~series.padding]
    sample = measured.reshape(-1)[:: max(1, measured.size // _MAX_SAMPLES)]
    if not sample.size:
        return
    low, high = (float(value) for value in np.percentile(sample, [1, 99]))
    if guess := _not_hu(series.info, low, high):
        raise SeriesError(
            f"{series.info.path}: values do not look like HU (range {low:.4g} to {high:.4g}): {guess}; "
            "convert them, or set assume_hu=true"
        )
    if sample.min() == sample.max() and sample.size > 1:
        raise SeriesError(f"{series.info.path}: all pixels are {sample[0]:.4g} HU, so there is no image; re-export it")


def _not_hu(info: SeriesInfo, low: float, high: float) -> str | None:
    """Return what values from ``low`` (1st percentile) to ``high`` (99th) probably are; None if they may be HU."""
    if high > 10_000:
        return "too bright for CT, probably another unit, a rescale applied twice or wrong decoding"
    if high < -700:
        return "only air, probably values reduced to 8 bits or an empty scan"
    if info.format == "dicom":
        return "stored values without their rescale intercept, such as -1024" if low >= 0 and high > 900 else None
    guesses = (
        (low <= -300, None),
        (low >= -0.1 and high < 1, "attenuation (1/mm or 1/cm) or values scaled to 0..1"),
        (low >= -1.01 and high <= 1.01, "values normalised to -1..1"),
        (low >= 0 and high <= 256, "values scaled to 0..255"),
        (low >= 0, "stored values without their rescale intercept, such as -1024, or another scale"),
    )
    return next((guess for applies, guess in guesses if applies), "no air, which surrounds the body in every CT slice")
