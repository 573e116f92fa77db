# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Derived DICOM series: new pixels and new UIDs in the source's study, one classic CT image per slice.

Enhanced multi-frame sources are also written as classic single-frame images: every system reads those, and the
stricter rules for Enhanced images would need header values that are not always known. Patient, study and frame of
reference are kept, and each image references its source frame.
"""

import hashlib
import io
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PersonName

from scripts import atomic
from scripts.ct.dicom.derivation import Derivation, record_derivation
from scripts.ct.dicom.finding import uneven_spacing
from scripts.ct.dicom.reading import Slice, read_slices
from scripts.ct.dicom.silence import quiet
from scripts.ct.series import SeriesInfo, source_digest
from scripts.ct.stored_values import StoredValues
from scripts.errors import SeriesError

_log = logging.getLogger(__name__)

_IMPLEMENTATION_UID = UID("2.25.250113902867513391953262041711424953473")
_NAMESPACE = uuid.UUID("6a1f8a52-9c0f-4d9a-8a5b-2f1f6c1f6d3e")
_LOSSY = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    "1.2.840.10008.1.2.4.53": "ISO_10918_1",
    "1.2.840.10008.1.2.4.55": "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}
"""Transfer syntaxes that are always lossy, and their methods. JPEG 2000 may be lossy; its files record it."""

_STALE = (
    "IconImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "DataSetTrailingPadding",
    "RealWorldValueMappingSequence",
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
"""Attributes that describe only the source's pixels or the time of their creation."""


@dataclass(frozen=True)
class _NewUIDs:
    """The new UID of the series, and a study UID for sources without one."""

    series: UID
    study: UID


@dataclass(frozen=True)
class _Change:
    """The change to apply to every slice: its derivation, and how an image in HU changes the stored values."""

    derivation: Derivation
    keep_private: bool
    pixels: Callable[[StoredValues, NDArray[np.float32]], NDArray[np.generic]]


def write_corrected(
    info: SeriesInfo,
    corrections: Iterable[NDArray[np.float32]],
    folder: Path,
    derivation: Derivation,
    *,
    keep_private: bool = False,
) -> list[Path]:
    """Write a corrected series, one uncompressed file per slice in slice order, starting at ``IM00001.dcm``.

    Unevenly spaced slices only cause a warning, since each one is corrected independently.

    Args:
        info: the source.
        corrections: (H, W) for each slice, to be added, in HU; consumed one by one.
        folder: an existing folder to write to.
        derivation: how the series was derived.
        keep_private: keep the source's private elements, which may identify the patient or hold values that no longer
            apply, such as a noise level.

    Returns:
        The written files.

    Raises:
        SeriesError: a source file cannot be read, or its header cannot be written as valid DICOM.
        OutputError: a file cannot be written.
    """
    if uneven := uneven_spacing(info):
        _log.warning("%s: %s", info.path, uneven)
    change = _Change(derivation, keep_private, StoredValues.corrected)
    return _write(info, corrections, folder, change)


def write_map(
    info: SeriesInfo,
    maps: Iterable[NDArray[np.float32]],
    folder: Path,
    derivation: Derivation,
    *,
    keep_private: bool = False,
) -> list[Path]:
    """Write maps over the slices of a series, such as residuals, as a new series.

    Args:
        info: the source.
        maps: (H, W) in HU for each slice, replacing the pixels; consumed one by one. They are rounded to the steps of
            the source's rescale and clipped to what its pixels can hold.
        folder: an existing folder to write to.
        derivation: how the series was derived; its ``kind`` is that of the maps.
        keep_private: as for `write_corrected`.

    Returns:
        The written files, as for `write_corrected`.

    Raises:
        SeriesError: as for `write_corrected`.
        OutputError: as for `write_corrected`.
    """
    change = _Change(derivation, keep_private, StoredValues.replaced)
    return _write(info, maps, folder, change)


def _write(
    info: SeriesInfo,
    images: Iterable[NDArray[np.float32]],
    folder: Path,
    change: _Change,
) -> list[Path]:
    uids = _new_uids(info, change.derivation)
    written = []
    for number, (source, image) in enumerate(zip(read_slices(info), images, strict=True), start=1):
        if source.frame is not None:
            source.header.InstanceNumber = number  # frames of different files may share a number
        content = _encoded(source, change.pixels(source.stored, image[None])[0], uids, change)
        target = folder / f"IM{number:05d}.dcm"
        atomic.write_file(target, lambda stream, content=content: stream.write(content))  # type: ignore[misc]
        written.append(target)
    return written


def _new_uids(info: SeriesInfo, derivation: Derivation) -> _NewUIDs:
    """Return UIDs that depend only on the source and the derivation, so that a rerun gives the same ones.

    The source is its files, not its UID, which two different scans may share.
    """
    source = derivation.source or source_digest(info)
    return _NewUIDs(
        series=_uid("series", info.uid, source, *derivation.entropy),
        study=_uid("study", info.uid or source),
    )


def _uid(*parts: str) -> UID:
    """Return a UID derived from a name-based UUID (PS3.5 B.2); the same parts always give the same UID."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}")


def _encoded(source: Slice, pixels: NDArray[np.generic], uids: _NewUIDs, change: _Change) -> bytes:
    """Return the bytes of one derived file; changes the header of ``source``."""
    dataset = source.header
    try:
        with quiet():
            unreadable = _unreadable_texts(dataset)
            _clean(dataset, keep_private=change.keep_private)
            record_derivation(dataset, source.frame, change.derivation)
            _identify(dataset, pixels, uids)
            _mark_lossy(dataset)
            _put_pixels(dataset, pixels)
            _restore_texts(dataset, unreadable)
            dataset.file_meta = _file_meta(dataset.SOPInstanceUID, change.derivation.version)
            buffer = io.BytesIO()
            dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except Exception as error:  # noqa: BLE001 (pydicom can raise anything on an invalid source header)
        raise SeriesError(
            f"{source.path}: cannot write its header as DICOM ({type(error).__name__}); re-export it"
        ) from None
    return buffer.getvalue()


def _unreadable_texts(dataset: Dataset) -> dict[BaseTag, tuple[object, bytes]]:
    """Return the value and raw bytes of texts that do not match the source's declared character set.

    Many archives hold such names. Re-encoding only their readable part would change the patient's identity.
    """
    found: dict[BaseTag, tuple[object, bytes]] = {}
    for tag in dataset.keys():  # noqa: SIM118 (iterating decodes)
        content = dataset.get_item(tag).value
        if isinstance(content, bytes) and not content.isascii():
            element = dataset[tag]
            if element.VR in CUSTOMIZABLE_CHARSET_VR and "\ufffd" in str(element.value):
                found[tag] = element.value, content
    return found


def _restore_texts(dataset: Dataset, unreadable: Mapping[BaseTag, tuple[object, bytes]]) -> None:
    for tag, (value, content) in unreadable.items():
        if tag in dataset and dataset[tag].value == value:
            vr = dataset[tag].VR
            dataset[tag] = DataElement(tag, vr, PersonName(content) if vr == "PN" else content, already_converted=True)


def _clean(dataset: Dataset, *, keep_private: bool) -> None:
    """Remove elements that do not apply to new pixels or whose meaning is unknown."""
    if not keep_private:
        dataset.remove_private_tags()
        dataset.pop("EncapsulatedDocument", None)
        for tag in [tag for tag in dataset.keys() if 0x5000 <= tag.group <= 0x50FF]:  # noqa: SIM118 (iterating decodes)
            del dataset[tag]  # curves
    dataset.preamble = bytes(128)
    for keyword in _STALE:
        dataset.pop(keyword, None)
    for tag in [tag for tag in dataset.keys() if 0x6000 <= tag.group <= 0x60FF]:  # noqa: SIM118 (iterating decodes)
        del dataset[tag]
    if not dataset.original_encoding[1]:
        dataset.walk(_drop_binary)


def _drop_binary(dataset: Dataset, element: DataElement) -> None:
    """Drop binary elements of a big-endian source, except pixels, because their bytes would not be swapped."""
    if element.VR in {"OW", "OF", "OL", "OD", "OV", "UN"} and element.keyword != "PixelData":
        del dataset[element.tag]


def _identify(dataset: Dataset, pixels: NDArray[np.generic], uids: _NewUIDs) -> None:
    """Set new UIDs; the image UID depends on the pixels, so that different images never share a UID."""
    source = [str(dataset.get(word)) for word in ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient")]
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    dataset.SOPInstanceUID = _uid("image", uids.series, *source, digest)
    dataset.SeriesInstanceUID = uids.series
    dataset.StudyInstanceUID = dataset.get("StudyInstanceUID") or uids.study


def _mark_lossy(dataset: Dataset) -> None:
    """Mark images from a lossy source as lossy, however they are stored now (PS3.3 C.7.6.1.1.5)."""
    method = _LOSSY.get(dataset.file_meta.TransferSyntaxUID)
    if method is None:
        return
    dataset.LossyImageCompression = "01"
    if not dataset.get("LossyImageCompressionMethod") and "PixelData" in dataset:
        whole = dataset.Rows * dataset.Columns * dataset.BitsAllocated / 8
        dataset.LossyImageCompressionMethod = method
        dataset.LossyImageCompressionRatio = f"{whole / max(1, len(dataset.PixelData)):.2f}"


def _put_pixels(dataset: Dataset, pixels: NDArray[np.generic]) -> None:
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    dataset["PixelData"].is_undefined_length = False
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    for keyword, extreme in (("SmallestImagePixelValue", pixels.min()), ("LargestImagePixelValue", pixels.max())):
        if keyword in dataset:
            dataset.add_new(keyword, "SS" if pixels.dtype.kind == "i" else "US", int(extreme))


def _file_meta(instance_uid: UID, version: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"CTCYCLE_{'.'.join(version.split('.')[:2])}"[:16]
    return meta
