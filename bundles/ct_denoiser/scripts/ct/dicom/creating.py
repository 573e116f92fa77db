# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""New DICOM series for simulated images: every attribute of a CT image, and no real identity."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from scripts.atomic import write_file
from scripts.errors import SeriesError

INTERCEPT = -1024
_DATE, _TIME = "20000101", "120000"
_IMPLEMENTATION = generate_uid(entropy_srcs=["ctcycle", "implementation"])


@dataclass(frozen=True)
class SeriesHeader:
    """Header values of a new series.

    Attributes:
        patient: the invented key used as name and ID.
        study: any text; series with the same text share a study and a frame of reference.
        number: SeriesNumber.
        description: SeriesDescription, at most 64 characters.
        derivation: DerivationDescription, how the images were made.
        kernel: ConvolutionKernel, at most 16 characters.
        pixel_mm: pixel size; column N // 2 and row N // 2 are at x = y = 0.
        slice_spacing_mm: distance between slices, also used as their thickness.
        first_z_mm: position of the first slice; later slices are closer to the head.
    """

    patient: str
    study: str
    number: int
    description: str
    derivation: str
    kernel: str
    pixel_mm: float
    slice_spacing_mm: float
    first_z_mm: float


def write_new_series(hu: NDArray[np.floating], folder: Path, header: SeriesHeader) -> list[Path]:
    """Write one CT Image Storage file per slice, starting at ``0001.dcm``, rounded to whole HU.

    The same input gives the same bytes: dates are fixed, and UIDs are derived from the header and the pixels.

    Args:
        hu: (S, H, W), finite, from -33792 to 31743.
        folder: created if missing; must not contain these files yet.
        header: shared by all slices.

    Returns:
        The files, in slice order.

    Raises:
        SeriesError: values are not finite or out of range.
        OutputError: a file cannot be written.
    """
    stored = _stored(hu)
    digest = hashlib.sha256(stored.tobytes() + repr(header).encode()).hexdigest()
    paths = []
    for index, pixels in enumerate(stored):
        slice_file = _new_file(header, digest, index)
        slice_file.ImagePositionPatient = _position(header, pixels.shape, index)
        slice_file.set_pixel_data(pixels, "MONOCHROME2", bits_stored=16, generate_instance_uid=False)
        path = folder / f"{index + 1:04d}.dcm"
        write_file(path, partial(slice_file.save_as, enforce_file_format=True))
        paths.append(path)
    return paths


def _stored(hu: NDArray[np.floating]) -> NDArray[np.int16]:
    values = np.rint(hu) - INTERCEPT
    limits = np.iinfo(np.int16)
    if not np.isfinite(values).all() or values.min() < limits.min or values.max() > limits.max:
        raise SeriesError(
            f"new DICOM series: values range from {np.min(hu)} to {np.max(hu)} HU; they must be finite and "
            f"from {limits.min + INTERCEPT} to {limits.max + INTERCEPT}"
        )
    stored: NDArray[np.int16] = values.astype(np.int16)
    return stored


def _new_file(header: SeriesHeader, digest: str, index: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["ctcycle", digest, str(index)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    meta.ImplementationVersionName = "CTCYCLE"
    dataset = FileDataset("", {}, preamble=bytes(128), file_meta=meta)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    _describe_study(dataset, header)
    _describe_series(dataset, header, digest)
    _describe_slice(dataset, header, index)
    return dataset


def _describe_study(dataset: FileDataset, header: SeriesHeader) -> None:
    """Set the patient, study and frame of reference modules (DICOM PS3.3 C.7.1.1, C.7.2.1, C.7.4.1)."""
    dataset.PatientName = dataset.PatientID = header.patient
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["ctcycle", "study", header.study])
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = _DATE, _TIME, "1"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["ctcycle", "frame of reference", header.study])
    dataset.PositionReferenceIndicator = ""


def _describe_series(dataset: FileDataset, header: SeriesHeader, digest: str) -> None:
    """Set the series and equipment modules (C.7.3.1, C.7.5.1) and the shared part of the CT image module (C.8.2.1)."""
    dataset.Modality, dataset.Manufacturer, dataset.ManufacturerModelName = "CT", "ctcycle simulator", "parallel beam"
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["ctcycle", "series", digest])
    dataset.SeriesNumber, dataset.SeriesDescription = header.number, header.description
    dataset.SeriesDate, dataset.SeriesTime = _DATE, _TIME
    dataset.BodyPartExamined, dataset.PatientPosition = "ABDOMEN", "HFS"
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.DerivationDescription = header.derivation
    dataset.KVP, dataset.ConvolutionKernel = "", header.kernel
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = INTERCEPT, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"


def _describe_slice(dataset: FileDataset, header: SeriesHeader, index: int) -> None:
    """Set the general image and image plane modules (C.7.6.1, C.7.6.2)."""
    dataset.InstanceNumber, dataset.AcquisitionNumber = index + 1, 1
    dataset.ContentDate, dataset.ContentTime = _DATE, _TIME
    dataset.AcquisitionDate, dataset.AcquisitionTime = _DATE, _TIME
    dataset.PixelSpacing = [_decimal(header.pixel_mm)] * 2
    dataset.SliceThickness = _decimal(header.slice_spacing_mm)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def _position(header: SeriesHeader, shape: tuple[int, ...], index: int) -> list[DSfloat]:
    """Return the position of the centre of a slice's first pixel."""
    rows, columns = shape
    z = header.first_z_mm + index * header.slice_spacing_mm
    return [_decimal(-(columns // 2) * header.pixel_mm), _decimal(-(rows // 2) * header.pixel_mm), _decimal(z)]


def _decimal(value: float) -> DSfloat:
    """Return the number formatted to fit the 16 characters of a DICOM decimal string."""
    return DSfloat(float(value), auto_format=True)
