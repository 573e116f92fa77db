"""DICOM series for tests: a body in air, with the oddities of real archives and a planted identity."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENT_NAME = "ZZCANARY^NAME"
PATIENT_ID = "PIDCANARY77"


def body_hu(slices: int = 3, size: int = 32, seed: int = 0) -> NDArray[np.float32]:
    """Return a noisy elliptic body of soft tissue with a bone, in air: (slices, size, size + 4) in whole HU."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : (size + 4) * 1j]
    radius = np.hypot(rows / 0.7, columns / 0.85)
    hu = np.where(radius < 1, 40.0, -1000.0)
    hu[np.hypot(rows - 0.4, columns) < 0.12] = 700.0
    noisy = hu + rng.normal(0, 15, (slices, size, size + 4))
    return np.rint(noisy.clip(-1024, 3000)).astype(np.float32)


def stored_body(
    slices: int = 3, dtype: str = "uint16", slope: float = 1.0, intercept: float = -1024.0, size: int = 32
) -> NDArray[Any]:
    """Return the body as a scanner would store it."""
    return np.rint((body_hu(slices, size) - intercept) / slope).astype(dtype)


def slice_dataset(stored: NDArray[Any], series: str = "1.2.826.0.1.77", number: int = 1) -> FileDataset:
    """Return a complete CT Image Storage data set, positioned at ``number`` times 2 mm."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", Dataset(), preamble=b"\0" * 128, file_meta=meta)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(number)])
    dataset.StudyInstanceUID = "1.2.826.0.1.7"
    dataset.SeriesInstanceUID = UID(series)
    dataset.FrameOfReferenceUID = "1.2.826.0.1.8"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PATIENT_NAME, PATIENT_ID, "19330303"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.SeriesDescription = 4, number, "Abdomen 2.0"
    dataset.ConvolutionKernel, dataset.SliceThickness = ["B30f", "3"], 3.0
    dataset.ImagePositionPatient = [-10.0, -20.0, 2.0 * number]
    dataset.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    dataset.PixelSpacing = [0.75, 0.5]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    put_pixels(dataset, stored)
    return dataset


def put_pixels(dataset: Dataset, stored: NDArray[Any]) -> None:
    """Set the image's stored values and the elements that describe them."""
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()


def save(dataset: Dataset, path: Path) -> Path:
    """Write the image in the transfer syntax of its file meta, however odd its values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or "1.2.826.0.1.9"
    syntax = dataset.file_meta.TransferSyntaxUID
    with path.open("wb") as stream:
        dcmwrite(
            stream,
            dataset,
            implicit_vr=None if syntax.is_compressed else syntax.is_implicit_VR,
            little_endian=None if syntax.is_compressed else syntax.is_little_endian,
            enforce_file_format=True,
        )
    return path


def write_series(
    folder: Path,
    stored: NDArray[Any] | None = None,
    series: str = "1.2.826.0.1.77",
    names: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a series of (S, H, W) stored values, one file per slice, and return the files.

    Args:
        folder: output folder.
        stored: integers; the body of `stored_body` by default.
        series: SeriesInstanceUID.
        names: file names in slice order; ``0001.dcm`` etc. by default.
        changes: elements to set in all slices, by keyword; None removes an element.
    """
    stored = stored_body() if stored is None else stored
    files = []
    for number, pixels in enumerate(stored, start=1):
        dataset = slice_dataset(pixels, series, number)
        change(dataset, changes or {})
        name = names[number - 1] if names else f"{number:04d}.dcm"
        files.append(save(dataset, folder / name))
    return files


def change(dataset: Dataset, changes: Mapping[str, Any]) -> None:
    """Set elements by keyword; None removes an element."""
    for keyword, value in changes.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
