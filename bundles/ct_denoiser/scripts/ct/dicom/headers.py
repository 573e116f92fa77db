# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Read DICOM headers without pixels, tolerating odd values and never quoting them in messages."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from scripts.ct.dicom.frames import frame_count, is_multi_frame, single_frame
from scripts.ct.dicom.limits import LimitedStream, LimitError, check_items, check_unpacked, exceeded
from scripts.ct.dicom.padding import declared_range
from scripts.ct.dicom.silence import quiet
from scripts.errors import SeriesError

_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "PatientName",
    "PatientID",
    "ConvolutionKernel",
    "SliceThickness",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "BitsAllocated",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in _KEYWORDS]
_PIXEL_DATA = Tag("PixelData")
_OURS = re.compile(r"\bctcycle (denoised|residual|uncertainty)$")
_HEADLESS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")
"""First bytes of a data set without the file header: group 8 or 2."""


@dataclass(frozen=True)
class Header:
    """The header of an image or of one of its frames; missing or unreadable values are empty, 0 or None.

    Attributes:
        path: the file.
        frame: index of the frame, from 0; 0 in a single-frame file.
        series_uid: SeriesInstanceUID.
        sop_class: SOPClassUID.
        modality: Modality.
        image_type: the values of ImageType in upper case.
        identity: PatientID, PatientName, StudyInstanceUID; equal in all files of a series, never shown.
        kernel: ConvolutionKernel, multiple values joined by "/".
        thickness_mm: SliceThickness; 0.0 if it is missing or not above 0.
        number: InstanceNumber.
        position: ImagePositionPatient.
        orientation: ImageOrientationPatient.
        spacing_mm: PixelSpacing: between rows, between columns; None if it is missing or not above 0.
        shape: Rows, Columns.
        frames: NumberOfFrames, if there are no functional groups that describe each frame.
        colours: SamplesPerPixel and PhotometricInterpretation.
        rescale: RescaleSlope and RescaleIntercept.
        rescale_type: RescaleType in upper case.
        has_pixels: whether pixel data follows the header.
        made_by: kind of the series if ctcycle made it, from SeriesDescription; otherwise empty.
        instance_uid: SOPInstanceUID; the same for all frames of a file.
        frame_of_reference: FrameOfReferenceUID.
        padding: lowest and highest stored value that are declared as padding; None if the header declares none.
    """

    path: Path
    frame: int
    series_uid: str
    sop_class: UID
    modality: str
    image_type: tuple[str, ...]
    identity: tuple[str, str, str]
    kernel: str
    thickness_mm: float
    number: float | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    shape: tuple[int, int]
    frames: int
    colours: tuple[int, str]
    rescale: tuple[float, float] | None
    rescale_type: str
    has_pixels: bool
    made_by: str = ""
    instance_uid: str = ""
    frame_of_reference: str = ""
    padding: tuple[int, int] | None = None

    @property
    def normal(self) -> tuple[float, ...] | None:
        """Unit vector perpendicular to the slice; None without an orientation."""
        if self.orientation is None:
            return None
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        length = float(np.linalg.norm(normal))
        return tuple((normal / length).tolist()) if length > 0 else None


def looks_like_dicom(start: bytes) -> bool:
    """Return whether the first 132 bytes are those of a DICOM file."""
    return start[128:132] == b"DICM"


def lacks_header(start: bytes) -> bool:
    """Return whether the first bytes are those of a DICOM data set without the file header."""
    return start[:2] in _HEADLESS


def read_headers(path: Path) -> list[Header]:
    """Read the header of a file without its pixels; return one header per frame of an Enhanced multi-frame image.

    Raises:
        SeriesError: the header cannot be read.
    """
    seen: list[bool] = []

    def reached_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if tag == _PIXEL_DATA:
            seen.append(True)
        return bool(tag >= _PIXEL_DATA)

    with _reading(path) as stream:
        dataset = read_partial(stream, stop_when=reached_pixels, specific_tags=_TAGS)
        check_items(dataset)
        if not is_multi_frame(dataset):
            return [_header(path, 0, dataset, has_pixels=bool(seen))]
        frames = (single_frame(dataset, index) for index in range(frame_count(dataset)))
        return [_header(path, index, frame, has_pixels=bool(seen)) for index, frame in enumerate(frames)]


def read_dataset(path: Path) -> Dataset:
    """Read the whole file.

    Raises:
        SeriesError: the file cannot be read.
    """
    with _reading(path) as stream:
        dataset = dcmread(stream)
        check_items(dataset)
    return dataset


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Yield a file as a stream whose cost is limited.

    Raises:
        SeriesError: the file cannot be read, or exceeds a limit.
    """
    try:
        check_unpacked(path)
        with quiet(), path.open("rb") as stream:
            yield cast("BinaryIO", LimitedStream(stream))
    except Exception as error:  # noqa: BLE001 (pydicom can raise anything on a broken file)
        limit = exceeded(error)
        raise (unreadable(path, error) if limit is None else _beyond_limits(path, limit)) from None


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return the ``count`` finite numbers of an element; None if it is missing or holds anything else."""
    try:
        value = dataset.get(keyword)
        found = tuple(float(part) for part in (value if count > 1 else [value]))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and np.isfinite(found).all() else None


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an element as text; empty if it is missing."""
    value = dataset.get(keyword)
    if value is None:
        return ()
    return tuple(str(part).strip() for part in (value if isinstance(value, MultiValue) else [value]))


def unreadable(path: Path, error: Exception) -> SeriesError:
    """Return an error that names the type of a read failure but not its text, which may quote the header."""
    return SeriesError(f"{path}: cannot read the DICOM header ({type(error).__name__}); copy or re-export the file")


def _beyond_limits(path: Path, error: LimitError) -> SeriesError:
    return SeriesError(f"{path}: {error}, so it is broken or meant to exhaust the memory; re-export it")


def _header(path: Path, frame: int, dataset: Dataset, *, has_pixels: bool) -> Header:
    def text(keyword: str) -> str:
        return "/".join(texts(dataset, keyword))

    def number(keyword: str) -> float | None:
        found = numbers(dataset, keyword, 1)
        return None if found is None else found[0]

    slope, intercept = number("RescaleSlope"), number("RescaleIntercept")
    spacing = numbers(dataset, "PixelSpacing", 2)
    return Header(
        path=path,
        frame=frame,
        series_uid=text("SeriesInstanceUID"),
        sop_class=UID(text("SOPClassUID")),
        modality=text("Modality"),
        image_type=tuple(part.upper() for part in texts(dataset, "ImageType")),
        identity=(text("PatientID"), text("PatientName"), text("StudyInstanceUID")),
        kernel=text("ConvolutionKernel"),
        thickness_mm=max(number("SliceThickness") or 0.0, 0.0),
        number=number("InstanceNumber"),
        position=numbers(dataset, "ImagePositionPatient", 3),
        orientation=numbers(dataset, "ImageOrientationPatient", 6),
        spacing_mm=spacing if spacing and min(spacing) > 0 else None,
        shape=(int(number("Rows") or 0), int(number("Columns") or 0)),
        frames=int(number("NumberOfFrames") or 1),
        colours=(int(number("SamplesPerPixel") or 1), text("PhotometricInterpretation") or "MONOCHROME2"),
        rescale=(slope, intercept) if slope and intercept is not None else None,
        rescale_type=text("RescaleType").upper(),
        has_pixels=has_pixels,
        made_by=found[0] if (found := _OURS.findall(text("SeriesDescription"))) else "",
        instance_uid=text("SOPInstanceUID"),
        frame_of_reference=text("FrameOfReferenceUID"),
        padding=declared_range(number("PixelPaddingValue"), number("PixelPaddingRangeLimit"), _stored_type(number)),
    )


def _stored_type(number: Callable[[str], float | None]) -> np.dtype[np.generic]:
    """Return the type of the stored values, given a reader of numbers in the header; 16 bits if it is not valid."""
    bits = int(number("BitsAllocated") or 16)
    return np.dtype(f"{'i' if number('PixelRepresentation') else 'u'}{bits // 8 if bits in {8, 16, 32} else 2}")
