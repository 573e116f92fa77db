"""The few values of a received object that decide where it is stored, read without its pixels."""

import io
import re
import zlib
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ctcycle.errors import SeriesError

_UID = re.compile(r"[0-9.]{1,64}")
_LAST = Tag("NumberOfSeriesRelatedInstances")
_TAGS: list[BaseTag | int] = [
    Tag(word)
    for word in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "NumberOfSeriesRelatedInstances",
    )
]
_MAX_DIGITS = 7
_MAX_HEADER = 1 << 20
"""Bytes of a deflated object that are unpacked; UIDs are near its start."""


@dataclass(frozen=True)
class Identity:
    """What identifies an object.

    Attributes:
        sop_class: SOPClassUID.
        instance: SOPInstanceUID.
        study: StudyInstanceUID.
        series: SeriesInstanceUID.
        announced: NumberOfSeriesRelatedInstances; 0 if it is not given.
    """

    sop_class: str
    instance: str
    study: str
    series: str
    announced: int


def read_identity(content: bytes, syntax: str) -> Identity:
    """Read the UIDs of a DICOM file in memory.

    Args:
        content: the file, with preamble and file meta information.
        syntax: its transfer syntax.

    Raises:
        SeriesError: it is no data set, or a UID is missing or not a UID; header values are not quoted.
    """
    try:
        dataset = _inflated_start(content) if syntax == DeflatedExplicitVRLittleEndian else _start(content)
        uids = [
            str(dataset.get(word, "")).strip()
            for word in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
        ]
        announced = str(dataset.get("NumberOfSeriesRelatedInstances", ""))
    except Exception as error:  # noqa: BLE001 (pydicom can raise anything on a broken data set)
        raise SeriesError(f"received object: cannot read its header ({type(error).__name__}); send it again") from None
    if not all(_UID.fullmatch(uid) for uid in uids):
        raise SeriesError("received object: a UID of class, instance, study or series is missing or not a UID")
    sop_class, instance, study, series = uids
    count = int(announced) if announced.isdecimal() and len(announced) < _MAX_DIGITS else 0
    return Identity(sop_class, instance, study, series, count)


def _start(content: bytes) -> Dataset:
    return read_partial(io.BytesIO(content), stop_when=_after_uids, specific_tags=_TAGS)


def _inflated_start(content: bytes) -> Dataset:
    stream = io.BytesIO(content)
    read_partial(stream, stop_when=lambda tag, _vr, _length: tag.group > 2)
    start = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[_meta_end(content) :], _MAX_HEADER)
    return read_dataset(io.BytesIO(start), False, True, stop_when=_after_uids, specific_tags=_TAGS)


def _meta_end(content: bytes) -> int:
    """Return where the data set starts: after the preamble and the group length that the meta information gives."""
    return 132 + 12 + int.from_bytes(content[140:144], "little")


def _after_uids(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag > _LAST)
