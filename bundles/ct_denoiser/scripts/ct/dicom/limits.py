# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Bounds on what a DICOM file may cost to read, checked before anything of that size is built.

A header may hold sequences of any length in few bytes, and a deflated file may unpack to a thousand times its size.
"""

import zlib
from pathlib import Path
from typing import IO

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

MAX_ITEMS = 100_000
"""More sequence items than any header has: an Enhanced image of 5000 frames has about 60,000."""

_MAX_UNPACKED = 1 << 26
_MAX_RATIO = 100
"""A deflated file may unpack to `_MAX_UNPACKED` bytes or to this multiple of its size; CT packs by 2 to 5."""

_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""The tag of a sequence item in both byte orders."""

_PIXEL_DATA = Tag("PixelData")
_START = 132
_CHUNK_BYTES = 1 << 20


class LimitError(Exception):
    """A file that exceeds a limit; the message says which one, and names no file."""


def exceeded(error: BaseException | None) -> LimitError | None:
    """Return the limit behind an error, which pydicom may have wrapped in others; None if there is none."""
    while error is not None and not isinstance(error, LimitError):
        error = error.__cause__ or error.__context__
    return error


class LimitedStream:
    """A binary stream that counts the sequence items that are read from it.

    Args:
        stream: the file.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._items = 0
        self.name = stream.name
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, all that remain by default.

        Raises:
            LimitError: too many sequence items were read.
        """
        content = self._stream.read(size)
        if content[:4] in _ITEMS:
            self._items += 1
            _check(self._items)
        return content


def check_items(dataset: Dataset) -> None:
    """Check the sequences that pydicom has not parsed yet.

    Raises:
        LimitError: they have too many items.
    """
    elements = (dataset.get_item(tag) for tag in dataset.keys() if tag != _PIXEL_DATA)  # noqa: SIM118 (iterating decodes)
    raw = (element.value for element in elements if isinstance(element, RawDataElement))
    _check(sum(value.count(mark) for value in raw if isinstance(value, bytes) for mark in _ITEMS))


def check_unpacked(path: Path) -> None:
    """Check the size that a deflated file unpacks to; other files pass.

    Raises:
        LimitError: the file unpacks to far more than its size.
        OSError, zlib.error: the file cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(1024)
        if DeflatedExplicitVRLittleEndian.encode() not in start:
            return
        stream.seek(_START + 12 + int.from_bytes(start[140:144], "little"))
        most = max(_MAX_UNPACKED, _MAX_RATIO * path.stat().st_size)
        if _unpacked_size(stream, most) > most:
            raise LimitError(f"unpacks to more than {most >> 20} MiB")


def _unpacked_size(stream: IO[bytes], most: int) -> int:
    """Return the size of a deflated stream, or a size above ``most`` once it is exceeded."""
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while chunk := stream.read(_CHUNK_BYTES):
        while chunk and size <= most:
            size += len(inflate.decompress(chunk, _CHUNK_BYTES))
            chunk = inflate.unconsumed_tail
        if size > most:
            break
    return size


def _check(items: int) -> None:
    if items > MAX_ITEMS:
        raise LimitError(f"more than {MAX_ITEMS} sequence items in the header")
