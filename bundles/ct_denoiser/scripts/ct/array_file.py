# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Three-dimensional arrays in files, read and written slice by slice along any axis, in bounded memory.

Files are read, not mapped: a file that is cut while it is in use gives an error and does not end the process.
"""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

MAX_SIDE = 8192
"""More rows or columns than any CT has; a larger header is broken or meant to exhaust the memory."""

MAX_SLICES = 1 << 16
"""More slices than any series has."""

_GZIP = b"\x1f\x8b"
_MAX_RATIO = 1100
"""Deflate never packs more than 1032 bytes into one."""

_BLOCK_BYTES = 32 << 20
"""Slices that are scattered over the file are gathered in blocks of this size, with one pass over the file each."""

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Layout:
    """The position of an array in a file, and the axis to cut it along.

    Attributes:
        dtype: data type, including byte order.
        offset: byte offset of the first value in the uncompressed file.
        shape: sizes of three axes; the first varies fastest in the file.
        axis: the axis to cut along.
        volumes: number of such arrays, one after the other.
    """

    dtype: np.dtype[np.generic]
    offset: int
    shape: tuple[int, int, int]
    axis: int
    volumes: int = 1

    @property
    def count(self) -> int:
        """Number of slices in all volumes."""
        return self.shape[self.axis] * self.volumes

    @property
    def end(self) -> int:
        """Byte offset of the end of the last value."""
        return self.offset + prod(self.shape) * self.volumes * self.dtype.itemsize

    @property
    def plane_bytes(self) -> int:
        """Bytes of a plane of the two fastest axes, which is contiguous in the file."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def per_block(self) -> int:
        """Number of slices in a block of limited size; at least 1."""
        size = prod(self.shape) // self.shape[self.axis] * self.dtype.itemsize
        return max(1, _BLOCK_BYTES // size)


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Yield a binary stream of a file, unpacked if it is compressed by gzip, whatever its name is."""
    with file.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream  # type: ignore[misc]  # a GzipFile is a binary stream


def can_hold(file: Path, size: int) -> bool:
    """Return whether a file is large enough to hold ``size`` bytes, unpacked; nothing is unpacked to find out."""
    with file.open("rb") as raw:
        packed = raw.read(2) == _GZIP
    return size <= file.stat().st_size * (_MAX_RATIO if packed else 1)


def read_slices(stream: IO[bytes], layout: Layout, indices: Sequence[int]) -> Iterator[NDArray[np.generic]]:
    """Yield slices of an array, each with its two axes in the order of the file, the faster one first.

    Args:
        stream: the file, seekable; a compressed one is unpacked again where the order of the indices requires it.
        layout: the array.
        indices: slices to read, counted through all volumes; those of one volume should be neighbours in the list.

    Raises:
        EOFError: the file ends before the array does.
    """
    if layout.axis == 2 and list(indices) == sorted(indices):
        for index in indices:
            yield _read_plane(stream, layout, index)
        return
    for volume, positions in _blocks(layout, indices):
        yield from _read_block(stream, layout, volume, positions)


def write_slices(
    stream: IO[bytes], layout: Layout, indices: Sequence[int], slices: Iterable[NDArray[np.generic]]
) -> None:
    """Write all slices of an array.

    Args:
        stream: a file opened for reading and writing, seekable, not compressed.
        layout: the array.
        indices: the index of each slice, counted through all volumes.
        slices: the slices, as `read_slices` yields them; consumed one by one.
    """
    stream.seek(0, 2)
    stream.truncate(max(stream.tell(), layout.end))
    remaining = iter(slices)
    if layout.axis == 2:
        for index, values in zip(indices, remaining, strict=True):
            _write_plane(stream, layout, index, values)
        return
    for volume, positions in _blocks(layout, indices):
        _write_block(stream, layout, volume, positions, remaining)
    for _surplus in remaining:
        raise ValueError("more slices than the array has")
    stream.seek(layout.end)


def copy_bytes(source: IO[bytes], target: IO[bytes], count: int) -> int:
    """Copy up to ``count`` bytes from one stream to another in chunks, and return how many were copied."""
    copied = 0
    while copied < count and (chunk := source.read(min(_CHUNK_BYTES, count - copied))):
        target.write(chunk)
        copied += len(chunk)
    return copied


def _blocks(layout: Layout, indices: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield a volume and positions in it, so that all blocks together are the indices in their order."""
    per_volume = layout.shape[layout.axis]
    block: list[int] = []
    volume = -1
    for index in indices:
        found, position = divmod(index, per_volume)
        if block and (found != volume or len(block) == layout.per_block):
            yield volume, block
            block = []
        volume = found
        block.append(position)
    if block:
        yield volume, block


def _read_block(
    stream: IO[bytes], layout: Layout, volume: int, positions: Sequence[int]
) -> Iterator[NDArray[np.generic]]:
    """Yield slices of one volume in the order of ``positions``, after one pass over it."""
    first = volume * layout.shape[2]
    if layout.axis == 2:
        planes = {position: _read_plane(stream, layout, first + position) for position in sorted(positions)}
        yield from (planes[position] for position in positions)
        return
    other = 1 - layout.axis
    block = np.empty((len(positions), layout.shape[other], layout.shape[2]), layout.dtype)
    for number in range(layout.shape[2]):
        plane = _read_plane(stream, layout, first + number)
        block[:, :, number] = plane[positions, :] if layout.axis == 0 else plane[:, positions].T
    yield from block


def _write_block(
    stream: IO[bytes], layout: Layout, volume: int, positions: Sequence[int], slices: Iterator[NDArray[np.generic]]
) -> None:
    """Write as many slices as there are positions into one volume, in one pass over it."""
    block = [values for _position, values in zip(positions, slices, strict=False)]
    if len(block) < len(positions):
        raise ValueError("fewer slices than the array has")
    first = volume * layout.shape[2]
    for number in range(layout.shape[2]):
        plane = _read_plane(stream, layout, first + number)
        columns = np.stack([values[:, number] for values in block])
        if layout.axis == 0:
            plane[positions, :] = columns
        else:
            plane[:, positions] = columns.T
        _write_plane(stream, layout, first + number, plane)


def _read_plane(stream: IO[bytes], layout: Layout, number: int) -> NDArray[np.generic]:
    start = layout.offset + number * layout.plane_bytes
    if stream.tell() != start:
        stream.seek(start)
    content = bytearray(stream.read(layout.plane_bytes))
    if len(content) < layout.plane_bytes:
        raise EOFError(f"ends before byte {start + layout.plane_bytes}")
    return np.frombuffer(content, layout.dtype).reshape(layout.shape[:2], order="F")


def _write_plane(stream: IO[bytes], layout: Layout, number: int, values: NDArray[np.generic]) -> None:
    stream.seek(layout.offset + number * layout.plane_bytes)
    stream.write(np.asarray(values, layout.dtype).tobytes(order="F"))
