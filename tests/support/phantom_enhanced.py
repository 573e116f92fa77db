"""Enhanced multi-frame CT for tests: the body of phantom_series as the frames of one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phantom_series import save, slice_dataset
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, generate_uid

_OF_FRAMES = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "InstanceNumber"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ConvolutionKernel"),
)


def enhanced_dataset(
    stored: NDArray[Any], positions: Sequence[float], slopes: Sequence[float] = (), name: str = "1"
) -> FileDataset:
    """Return an Enhanced CT image with frames in the order of ``stored`` (F, H, W), at these positions in mm.

    With ``slopes`` each frame has its own rescale; without, all share one. ``name`` distinguishes the images of a
    series.
    """
    dataset = slice_dataset(stored[0])
    for keyword in _OF_FRAMES:
        del dataset[keyword]
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["enhanced", name])
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    dataset.ContentDate, dataset.ContentTime = "20200102", "030405"
    dataset.VolumetricProperties, dataset.VolumeBasedCalculationTechnique = "VOLUME", "NONE"
    dataset.PixelPresentation, dataset.ContentQualification = "MONOCHROME", "PRODUCT"
    dataset.PresentationLUTShape, dataset.LossyImageCompression = "IDENTITY", "00"
    dataset.NumberOfFrames = len(stored)
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    shared = _groups(
        PixelMeasuresSequence={"PixelSpacing": [0.75, 0.5], "SliceThickness": 3.0},
        PlaneOrientationSequence={"ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]},
        CTImageFrameTypeSequence={"FrameType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]},
        FrameVOILUTSequence={"WindowCenter": 40.0, "WindowWidth": 400.0},
        CTReconstructionSequence={"ConvolutionKernel": ["B30f", "3"], "ReconstructionDiameter": 360.0},
        CTExposureSequence={"ExposureTimeInms": 500.4, "XRayTubeCurrentInmA": 199.6, "ExposureModulationType": "NONE"},
        CTXRayDetailsSequence={"KVP": 120.0},
        CTTableDynamicsSequence={"SpiralPitchFactor": 0.9},
    )
    if not slopes:
        shared.PixelValueTransformationSequence = Items([_rescale(1.0)])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items([])
    for index, position in enumerate(positions):
        own = _groups(
            PlanePositionSequence={"ImagePositionPatient": [-10.0, -20.0, position]},
            FrameContentSequence={
                "FrameAcquisitionNumber": 6,
                "FrameAcquisitionDateTime": "20200102030405.5+0100",
                "StackID": "1",
                "InStackPositionNumber": index + 1,
            },
        )
        if slopes:
            own.PixelValueTransformationSequence = Items([_rescale(slopes[index])])
        dataset.PerFrameFunctionalGroupsSequence.append(own)
    return dataset


def write_enhanced(path: Path, stored: NDArray[np.uint16], order: Sequence[int] = ()) -> Path:
    """Write one Enhanced file of (F, H, W) stored values, with slices 2 mm apart as in `phantom_series.write_series`.

    ``order`` gives the slice shown by each frame.
    """
    order = order or range(len(stored))
    return save(enhanced_dataset(stored[list(order)], [2.0 * (number + 1) for number in order]), path)


def _rescale(slope: float) -> Dataset:
    item = Dataset()
    item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, -1024.0, "HU"
    return item


def _groups(**groups: dict[str, Any]) -> Dataset:
    functional = Dataset()
    for keyword, values in groups.items():
        item = Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        setattr(functional, keyword, Items([item]))
    return functional
