"""What a CT series is inside ctcycle: slices in HU, in the order of their position, with their geometry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
    """

    path: Path
    reason: str
    damaged: bool = False
    uid: str = ""
