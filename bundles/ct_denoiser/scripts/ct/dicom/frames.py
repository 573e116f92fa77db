# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Present each frame of an Enhanced multi-frame CT as a classic CT image (DICOM PS3.3 C.7.6.16).

Attributes at the top level of a classic image are in functional groups of an Enhanced one: some shared by all frames,
some specific to a frame. This module moves them to the top level, so that no other module needs to handle them.
"""

import re
from collections.abc import Sequence

from pydicom import Dataset

_LIFTED = (
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelValueTransformationSequence",
    "FrameVOILUTSequence",
    "IrradiationEventIdentificationSequence",
    "CTAcquisitionTypeSequence",
    "CTAcquisitionDetailsSequence",
    "CTTableDynamicsSequence",
    "CTPositionSequence",
    "CTGeometrySequence",
    "CTReconstructionSequence",
    "CTExposureSequence",
    "CTXRayDetailsSequence",
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
"""Functional groups whose attributes a classic CT image has at its top level, mostly under the same name."""

_ROUNDED = {
    "ExposureTimeInms": "ExposureTime",
    "XRayTubeCurrentInmA": "XRayTubeCurrent",
    "ExposureInmAs": "Exposure",
}
"""Numbers that a classic image stores as integers under another name."""

_MULTI_FRAME_ONLY = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "NumberOfFrames",
    "PixelData",
    "DimensionOrganizationSequence",
    "DimensionOrganizationType",
    "DimensionIndexSequence",
    "ConcatenationUID",
    "SOPInstanceUIDOfConcatenationSource",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ConcatenationFrameOffsetNumber",
    "ContentQualification",
    "PixelPresentation",
    "VolumetricProperties",
    "VolumeBasedCalculationTechnique",
    "PresentationLUTShape",
    "AcquisitionContextSequence",
    "ReferencedRawDataSequence",
    "IsocenterPosition",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    *_ROUNDED,
)
"""Attributes that a classic CT image must not have."""

_MAY_BE_EMPTY = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "PositionReferenceIndicator",
    "AcquisitionNumber",
    "KVP",
    "SliceThickness",
)
"""Attributes that a classic CT image must have but may leave empty (type 2)."""


def is_multi_frame(dataset: Dataset) -> bool:
    """Return whether the images of a data set are described by functional groups."""
    return "PerFrameFunctionalGroupsSequence" in dataset


def frame_count(dataset: Dataset) -> int:
    """Return the number of images in a data set; 1 for a classic image."""
    return len(_own_groups(dataset)) if is_multi_frame(dataset) else 1


def single_frame(dataset: Dataset, index: int) -> Dataset:
    """Return the header of one frame as that of a classic CT image, without pixels.

    Args:
        dataset: an Enhanced CT image; not changed. Its elements are shared, not copied.
        index: index of the frame, from 0.

    Raises:
        ValueError: the number of functional groups differs from the number of frames.
    """
    frame = Dataset({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118 (iterating decodes)
    implicit, little_endian = dataset.original_encoding
    frame.set_original_encoding(implicit, little_endian, dataset.original_character_set)
    frame.file_meta = dataset.file_meta
    frame.InstanceNumber = index + 1
    for groups in (*(dataset.get("SharedFunctionalGroupsSequence") or ()), _own_groups(dataset)[index]):
        _lift(frame, groups)
    for keyword, classic in _ROUNDED.items():
        if (value := frame.get(keyword)) is not None:
            setattr(frame, classic, round(value))
    kinds = [str(kind) for kind in frame.get("ImageType") or ()]
    frame.ImageType = [
        *kinds[:2],
        "LOCALIZER" if "LOCALIZER" in kinds else "AXIAL",
    ]  # other flavours exist only in Enhanced images
    for keyword in _MULTI_FRAME_ONLY:
        frame.pop(keyword, None)
    for keyword in _MAY_BE_EMPTY:
        frame.setdefault(keyword)
    if not frame.get("BodyPartExamined"):
        frame.setdefault("Laterality")  # the body part is unknown and could be a paired one
    return frame


def _own_groups(dataset: Dataset) -> Sequence[Dataset]:
    groups: Sequence[Dataset] = dataset.PerFrameFunctionalGroupsSequence
    if len(groups) != int(dataset.NumberOfFrames):
        raise ValueError(f"{dataset.NumberOfFrames} frames, but {len(groups)} functional groups")
    return groups


def _lift(frame: Dataset, groups: Dataset) -> None:
    for keyword in _LIFTED:
        for item in groups.get(keyword) or ():
            frame.update(item)
    for item in groups.get("CTImageFrameTypeSequence") or ():
        frame.ImageType = item.FrameType
    for item in groups.get("FrameContentSequence") or ():
        _set_acquisition(frame, item)


def _set_acquisition(frame: Dataset, content: Dataset) -> None:
    """Set the acquisition number, date and time of a frame."""
    if (number := content.get("FrameAcquisitionNumber")) is not None:
        frame.AcquisitionNumber = number
    if when := str(content.get("FrameAcquisitionDateTime") or ""):
        frame.AcquisitionDate = when[:8]
        frame.AcquisitionTime = re.split("[+-]", when[8:])[0]
