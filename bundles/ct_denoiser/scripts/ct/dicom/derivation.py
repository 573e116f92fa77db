# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""What the header of a derived image says of how it was made (DICOM PS3.3 C.7.6.1, C.12.1, C.12.2)."""

from dataclasses import dataclass
from typing import Literal

from pydicom import DataElement, Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage

from scripts.ct.dicom.headers import numbers, texts

NOT_FOR_DIAGNOSIS = "Not for diagnostic use, research use only."

_Kind = Literal["denoised", "residual", "uncertainty", "simulated"]
_SERIES: dict[_Kind, int] = {"denoised": 1, "residual": 2, "uncertainty": 3, "simulated": 4}
_MEANING: dict[_Kind, str] = {
    "denoised": "",
    "simulated": "",
    "residual": "No image of the patient, but a map: what was removed, the source minus the denoised image, in HU. ",
    "uncertainty": "No image of the patient, but a map: the standard deviation of the denoised image, in HU. ",
}
_WINDOW: dict[_Kind, tuple[int, int]] = {"residual": (0, 200), "uncertainty": (25, 50)}
"""Centre and width in HU that show a map; the source's windows would show one grey."""

_NOT_OF_MAPS = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenterWidthExplanation",
)
_MAX_SERIES_NUMBER = 2_147_483
"""Beyond this, a thousandfold number would not fit an integer string."""


@dataclass(frozen=True)
class Derivation:
    """What was done to a series, as its header will say; no time, so that a second run gives the same bytes.

    Attributes:
        version: of this software.
        model: name of the network.
        model_digest: SHA-256 of its weights, or another fixed name of them.
        description: what was done, in a sentence.
        kind: what the pixels are: the denoised image, a map beside it, or a scan simulated for training.
    """

    version: str
    model: str
    model_digest: str
    description: str = "Deep-learning noise reduction."
    kind: _Kind = "denoised"

    @property
    def entropy(self) -> tuple[str, ...]:
        """What makes the UIDs of two derivations of one source different."""
        return (self.version, self.model, self.model_digest, self.description, self.kind)


def describe(dataset: Dataset, frame: int | None, derivation: Derivation) -> None:
    """Makes the header of a source the header of an image derived from it; its UIDs and pixels stay.

    Args:
        dataset: changed.
        frame: which frame of its file it was, None if the file had no frames.
        derivation: what was done.
    """
    _refer_to_source(dataset, frame)
    _name_series(dataset, derivation)
    if derivation.kind != "simulated":  # there is no code for noise that is added, either
        dataset.DerivationCodeSequence = _appended(dataset, "DerivationCodeSequence", _smoothing())
    equipment = _equipment(derivation)
    dataset.ContributingEquipmentSequence = _appended(dataset, "ContributingEquipmentSequence", equipment)
    _state(dataset, RescaleType="HU")
    if derivation.kind in _WINDOW:
        _show_as_map(dataset, *_WINDOW[derivation.kind])


def _state(dataset: Dataset, **values: object) -> None:
    """Sets elements by keyword; values of ours that break DICOM's rules raise, whatever the source had wrong."""
    for keyword, value in values.items():
        tag = Tag(keyword)
        dataset[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=RAISE)


def _refer_to_source(dataset: Dataset, frame: int | None) -> None:
    """Names the source image (PS3.3 C.7.6.1.1.4) and series (C.12.2); a source without UIDs cannot be named."""
    dataset.pop("SourceImageSequence", None)
    if texts(dataset, "SOPInstanceUID") in {(), ("",)}:
        return
    instance, series = Dataset(), Dataset()
    instance.ReferencedSOPClassUID = dataset.get("SOPClassUID") or CTImageStorage
    instance.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    if dataset.get("SeriesInstanceUID"):
        series.SeriesInstanceUID = dataset.SeriesInstanceUID
        series.ReferencedInstanceSequence = Sequence([instance])
        dataset.ReferencedSeriesSequence = Sequence([series])
    image = Dataset()
    image.update(instance)
    if frame is not None:
        image.ReferencedFrameNumber = frame + 1
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = _code("121322", "Source image for image processing operation")
    dataset.SourceImageSequence = Sequence([image])


def _name_series(dataset: Dataset, derivation: Derivation) -> None:
    """What people see first: kind of image, descriptions, number and comments; the source's own are kept beside."""
    flavour, *others = [part for part in texts(dataset, "ImageType")[2:] if part] or ["AXIAL"]
    # value 4 may say which energy or material an image shows (PS3.3 C.8.2.1.1.1): a denoised one still shows it
    kind = [derivation.kind.upper()] if derivation.kind in _WINDOW else []
    dataset.ImageType = ["DERIVED", "SECONDARY", flavour, *kind, *others]
    made = f"{derivation.description} {_MEANING[derivation.kind]}{NOT_FOR_DIAGNOSIS} {_made_by(derivation)}."
    earlier = "".join(f" Before: {text}" for text in texts(dataset, "DerivationDescription") if text)
    described = "/".join(texts(dataset, "SeriesDescription"))[:40].strip()
    comments = [text[:10_000] for text in texts(dataset, "ImageComments") if text]
    number = int((numbers(dataset, "SeriesNumber", 1) or (0,))[0])
    place = _SERIES[derivation.kind]
    _state(
        dataset,
        DerivationDescription=f"{made}{earlier}"[:1024],
        SeriesDescription=f"{described} ctcycle {derivation.kind}".strip(),
        ImageComments="; ".join([*comments, NOT_FOR_DIAGNOSIS]),
        SeriesNumber=number * 1000 + place if 0 <= number < _MAX_SERIES_NUMBER else place,
    )


def _made_by(derivation: Derivation) -> str:
    return f"ctcycle {derivation.version}, model {derivation.model}, weights {derivation.model_digest}"


def _smoothing() -> Dataset:
    """The nearest that there is: CID 7203 (image derivation) has no code for noise reduction."""
    return _code("113087", "Smoothing")[0]


def _equipment(derivation: Derivation) -> Dataset:
    """This software, as one more that the image went through; the scanner's own attributes stay at the top."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = _code("109102", "Processing Equipment")
    _state(
        item,
        Manufacturer="ctcycle",
        ManufacturerModelName=derivation.model.replace("\\", "/")[:64],
        SoftwareVersions=[derivation.model_digest[:64], derivation.version[:63]],  # a blank may follow the last
        ContributionDescription=f"{derivation.description} {NOT_FOR_DIAGNOSIS}"[:1024],
    )
    return item


def _show_as_map(dataset: Dataset, centre: int, width: int) -> None:
    for keyword in _NOT_OF_MAPS:
        dataset.pop(keyword, None)
    _state(dataset, WindowCenter=centre, WindowWidth=width)


def _appended(dataset: Dataset, keyword: str, item: Dataset) -> Sequence:
    return Sequence([*(dataset.get(keyword) or ()), item])


def _code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    _state(item, CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)
    return Sequence([item])
