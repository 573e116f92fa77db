"""Derived DICOM series: new pixels, new UIDs, and a plain statement of what was done (DICOM PS3.3 C.7.6.1)."""

import hashlib
import io
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from ctcycle import atomic
from ctcycle.dicom.headers import numbers, quiet, read_dataset, texts
from ctcycle.dicom.reading import stored_values
from ctcycle.errors import SeriesError
from ctcycle.series import SeriesInfo

_IMPLEMENTATION_UID = UID("2.25.250113902867513391953262041711424953473")
_NAMESPACE = uuid.UUID("6a1f8a52-9c0f-4d9a-8a5b-2f1f6c1f6d3e")
_LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"}
"""Transfer syntaxes that always lose something; what is lost once stays flagged. JPEG 2000 may or may not."""

_STALE = (
    "IconImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DataSetTrailingPadding",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "ReferencedSeriesSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "SeriesDate",
    "SeriesTime",
    "ContentDate",
    "ContentTime",
    "InstanceCreationDate",
    "InstanceCreationTime",
)
"""True of the source's pixels, or of the time they were made, and not of ours."""


@dataclass(frozen=True)
class Derivation:
    """What was done to a series, as its header will say.

    Attributes:
        version: of this software.
        model: name of the network.
        model_digest: SHA-256 of its weights, or another fixed name of them.
        description: what was done, in a sentence.
        created: the time to write into the header; None leaves times out, so that a second run gives the same bytes.
        overwrite: whether an existing output may be replaced.
    """

    version: str
    model: str
    model_digest: str
    description: str = "Deep-learning noise reduction. Research use only."
    created: datetime | None = None
    overwrite: bool = False

    @property
    def entropy(self) -> tuple[str, ...]:
        """What makes the UIDs of two derivations of one source different."""
        return (self.version, self.model, self.model_digest, self.description)


@dataclass(frozen=True)
class _NewUIDs:
    """The series' new UID, and a study's for sources that have none."""

    series: UID
    study: UID


def write_corrected(
    info: SeriesInfo, correction_hu: NDArray[np.float32], folder: Path, derivation: Derivation
) -> list[Path]:
    """Writes a derived series, one file ``IM00001.dcm`` per slice in slice order, uncompressed.

    Args:
        info: the source.
        correction_hu: (S, H, W), what is to be added.
        folder: where to; exists.
        derivation: what was done.

    Returns:
        The files.

    Raises:
        SeriesError: a source file cannot be read, or its header cannot be written in DICOM's rules.
        OutputError: a file cannot be written.
    """
    uids = _new_uids(info, derivation)
    written = []
    for number, (file, step) in enumerate(zip(info.files, correction_hu, strict=True), start=1):
        dataset = read_dataset(file)
        pixels = stored_values(file, dataset, info.shape[1:]).corrected(step[None])[0]
        target = folder / f"IM{number:05d}.dcm"
        content = _encoded(file, dataset, pixels, uids, derivation)
        atomic.write_file(target, lambda stream, content=content: stream.write(content))  # type: ignore[misc]
        written.append(target)
    return written


def _new_uids(info: SeriesInfo, derivation: Derivation) -> _NewUIDs:
    """A function of the source and the derivation: a second run gives the same, another model another."""
    source = info.uid or hashlib.sha256(info.files[0].read_bytes()).hexdigest()
    return _NewUIDs(
        series=_uid("series", source, *derivation.entropy),
        study=_uid("study", source),
    )


def _uid(*parts: str) -> UID:
    """The UID of a name (PS3.5 B.2, from a name-based UUID): the same parts give the same UID, anywhere."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}")


def _encoded(
    source: Path, dataset: Dataset, pixels: NDArray[np.generic], uids: _NewUIDs, derivation: Derivation
) -> bytes:
    """The bytes of one derived file; changes ``dataset``."""
    try:
        with quiet():
            _clean(dataset)
            _refer_to_source(dataset)
            _describe(dataset, derivation)
            _identify(dataset, pixels, uids)
            _put_pixels(dataset, pixels)
            dataset.file_meta = _file_meta(dataset.SOPInstanceUID)
            buffer = io.BytesIO()
            dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except Exception as error:  # noqa: BLE001 (a source header that breaks DICOM's rules makes pydicom raise anything)
        raise SeriesError(
            f"{source}: its header cannot be written as DICOM ({type(error).__name__}); export it again"
        ) from None
    return buffer.getvalue()


def _clean(dataset: Dataset) -> None:
    """Removes what would be stale or unexplained beside new pixels."""
    dataset.remove_private_tags()
    for keyword in _STALE:
        dataset.pop(keyword, None)
    for tag in [tag for tag in dataset.keys() if 0x6000 <= tag.group <= 0x60FF]:  # noqa: SIM118 (iterating decodes)
        del dataset[tag]
    if not dataset.original_encoding[1]:
        dataset.walk(_drop_words)


def _drop_words(dataset: Dataset, element: DataElement) -> None:
    """Drops binary words of a big-endian source, pixels excepted: nothing would swap their bytes."""
    if element.VR in {"OW", "OF", "OL", "OD", "OV", "UN"} and element.keyword != "PixelData":
        del dataset[element.tag]


def _refer_to_source(dataset: Dataset) -> None:
    """Names the source image (PS3.3 C.7.6.1.1.4); a source without UIDs cannot be named."""
    dataset.pop("SourceImageSequence", None)
    if texts(dataset, "SOPInstanceUID") in {(), ("",)}:
        return
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.get("SOPClassUID") or CTImageStorage
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = _code("121322", "Source image for image processing operation")
    dataset.SourceImageSequence = Sequence([item])


def _describe(dataset: Dataset, derivation: Derivation) -> None:
    kept = [part for part in texts(dataset, "ImageType")[2:] if part] or ["AXIAL"]
    dataset.ImageType = ["DERIVED", "SECONDARY", *kept]
    made_by = f"ctcycle {derivation.version}, model {derivation.model}, {derivation.model_digest}"
    dataset.DerivationDescription = f"{derivation.description} {made_by}"[:1024]
    described = "/".join(texts(dataset, "SeriesDescription"))[:40].strip()
    dataset.SeriesDescription = f"{described} ctcycle denoised".strip()
    number = int((numbers(dataset, "SeriesNumber", 1) or (0,))[0])
    dataset.SeriesNumber = number * 1000 + 1 if 0 <= number < 2_147_483 else 1
    dataset.ContributingEquipmentSequence = Sequence(
        [*(dataset.get("ContributingEquipmentSequence") or ()), _equipment(derivation)]
    )
    if derivation.created is not None:
        dataset.SeriesDate = dataset.ContentDate = dataset.InstanceCreationDate = f"{derivation.created:%Y%m%d}"
        dataset.SeriesTime = dataset.ContentTime = dataset.InstanceCreationTime = f"{derivation.created:%H%M%S}"


def _equipment(derivation: Derivation) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = _code("109102", "Processing Equipment")
    item.Manufacturer = "ctcycle"
    item.ManufacturerModelName = derivation.model[:64]
    item.SoftwareVersions = [derivation.version[:64], derivation.model_digest[:64]]
    item.ContributionDescription = derivation.description[:1024]
    return item


def _code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return Sequence([item])


def _identify(dataset: Dataset, pixels: NDArray[np.generic], uids: _NewUIDs) -> None:
    """New UIDs; that of the image depends on the pixels, so that one UID never names two images."""
    source = [str(dataset.get(word)) for word in ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient")]
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    dataset.SOPInstanceUID = _uid("image", uids.series, *source, digest)
    dataset.SeriesInstanceUID = uids.series
    dataset.StudyInstanceUID = dataset.get("StudyInstanceUID") or uids.study


def _put_pixels(dataset: Dataset, pixels: NDArray[np.generic]) -> None:
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    dataset["PixelData"].is_undefined_length = False
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    if dataset.file_meta.TransferSyntaxUID in _LOSSY:
        dataset.LossyImageCompression = "01"


def _file_meta(instance_uid: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_UID
    meta.ImplementationVersionName = "CTCYCLE"
    return meta
