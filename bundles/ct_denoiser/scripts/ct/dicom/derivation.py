# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The header of a derived image: how it was made, and from what (DICOM PS3.3 C.7.6.1, C.12.1, C.12.2)."""

import re
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
    "residual": "Not an image of the patient but a map of what was removed: source minus denoised image, in HU. ",
    "uncertainty": "Not an image of the patient but a map of the standard deviation of the denoised image, in HU. ",
}
_WINDOW: dict[_Kind, tuple[int, int]] = {"residual": (0, 200), "uncertainty": (25, 50)}
"""Window centre and width in HU for a map; the source's windows would show it as uniform grey."""

_REMOVED_FROM_MAPS = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenterWidthExplanation",
)
_MAX_SERIES_NUMBER = 2_147_483
"""Larger numbers times 1000 would not fit a DICOM integer string."""


@dataclass(frozen=True)
class Derivation:
    """How a series was derived, as recorded in its header; without a time, so that a rerun gives the same bytes.

    Attributes:
        version: version of this software.
        model: name of the network.
        model_digest: SHA-256 of its weights, or another fixed identifier for them.
        description: what was done, as a sentence.
        kind: what the pixels show: the denoised image, a map of it, or a scan simulated for training.
        strength: factor of the correction, recorded in the descriptions; None if it has none.
        settings: everything else that changes the pixels, as text; it only makes UIDs differ.
        source: digest of the source's files, see `ctcycle.ct.series.source_digest`; empty to compute it.
    """

    version: str
    model: str
    model_digest: str
    description: str = "Deep-learning noise reduction."
    kind: _Kind = "denoised"
    strength: float | None = None
    settings: str = ""
    source: str = ""

    @property
    def entropy(self) -> tuple[str, ...]:
        """The values that distinguish the UIDs of two derivations of the same source."""
        made = (self.version, self.model, self.model_digest, self.description, self.kind)
        return (*made, repr(self.strength), self.settings)


def record_derivation(dataset: Dataset, frame: int | None, derivation: Derivation) -> None:
    """Turn the header of a source image into that of an image derived from it; UIDs and pixels are not changed.

    Args:
        dataset: the source's header, changed in place.
        frame: index of the source's frame in its file, None for a single-frame file.
        derivation: how the image was derived.
    """
    _refer_to_source(dataset, frame)
    _name_series(dataset, derivation)
    if derivation.kind != "simulated":  # DICOM has no code for added noise
        dataset.DerivationCodeSequence = _appended(dataset, "DerivationCodeSequence", _smoothing())
    equipment = _equipment(derivation)
    dataset.ContributingEquipmentSequence = _appended(dataset, "ContributingEquipmentSequence", equipment)
    if not any(texts(dataset, "RescaleType")):  # HU_MOD and other kinds of HU stay what they are
        _set(dataset, RescaleType="HU")
    if derivation.kind in _WINDOW:
        _show_as_map(dataset, *_WINDOW[derivation.kind])


def _set(dataset: Dataset, **values: object) -> None:
    """Set elements by keyword; unlike values from the source, ours raise if they violate DICOM's rules."""
    for keyword, value in values.items():
        tag = Tag(keyword)
        dataset[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=RAISE)


def _refer_to_source(dataset: Dataset, frame: int | None) -> None:
    """Reference the source image (PS3.3 C.7.6.1.1.4) and series (C.12.2), unless the source has no UIDs."""
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
    """Set image type, descriptions, series number and comments; the source's own texts are kept after ours."""
    flavour, *others = [part for part in texts(dataset, "ImageType")[2:] if part] or ["AXIAL"]
    # value 4 may name the energy or material shown (PS3.3 C.8.2.1.1.1), which also holds for a denoised image
    kind = [derivation.kind.upper()] if derivation.kind in _WINDOW else []
    dataset.ImageType = ["DERIVED", "SECONDARY", flavour, *kind, *others]
    made = f"{derivation.description} {_MEANING[derivation.kind]}{NOT_FOR_DIAGNOSIS} {_made_by(derivation)}."
    earlier = "".join(f" Previously: {text}" for text in texts(dataset, "DerivationDescription") if text)
    ours = _series_text(derivation)
    described = "/".join(texts(dataset, "SeriesDescription"))[: min(40, 63 - len(ours))].strip()
    comments = [text[:10_000] for text in texts(dataset, "ImageComments") if text]
    number = int((numbers(dataset, "SeriesNumber", 1) or (0,))[0])
    offset = _SERIES[derivation.kind]
    _set(
        dataset,
        DerivationDescription=f"{made}{earlier}"[:1024],
        SeriesDescription=f"{described} {ours}".strip(),
        ImageComments="; ".join([*comments, NOT_FOR_DIAGNOSIS]),
        SeriesNumber=number * 1000 + offset if 0 <= number < _MAX_SERIES_NUMBER else offset,
    )


def _series_text(derivation: Derivation) -> str:
    """Return what a list of series shows of the derivation; its end marks the series as ours."""
    if derivation.strength is None:
        return f"ctcycle {derivation.kind}"
    model = re.sub(r"[^ -\[\]-~]", "?", derivation.model)[:16].strip()
    return f"{model} x{derivation.strength:.3g} ctcycle {derivation.kind}"


def _made_by(derivation: Derivation) -> str:
    strength = "" if derivation.strength is None else f", strength {derivation.strength:.3g}"
    return f"ctcycle {derivation.version}, model {derivation.model}{strength}, weights {derivation.model_digest}"


def _smoothing() -> Dataset:
    """Return the closest code: CID 7203 (image derivation) has none for noise reduction."""
    return _code("113087", "Smoothing")[0]


def _equipment(derivation: Derivation) -> Dataset:
    """Return this software as contributing equipment; the scanner's attributes stay at the top level."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = _code("109102", "Processing Equipment")
    _set(
        item,
        Manufacturer="ctcycle",
        ManufacturerModelName=derivation.model.replace("\\", "/")[:64],
        SoftwareVersions=[derivation.model_digest[:64], derivation.version[:63]],  # padding may add a blank to the last
        ContributionDescription=f"{derivation.description} {NOT_FOR_DIAGNOSIS}"[:1024],
    )
    return item


def _show_as_map(dataset: Dataset, centre: int, width: int) -> None:
    for keyword in _REMOVED_FROM_MAPS:
        dataset.pop(keyword, None)
    _set(dataset, WindowCenter=centre, WindowWidth=width)


def _appended(dataset: Dataset, keyword: str, item: Dataset) -> Sequence:
    return Sequence([*(dataset.get(keyword) or ()), item])


def _code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    _set(item, CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)
    return Sequence([item])
