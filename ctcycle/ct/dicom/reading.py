"""From DICOM files to stored values: decoding, the rescale of each slice, padding."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID

from ctcycle.ct.dicom.finding import in_order
from ctcycle.ct.dicom.frames import is_multi_frame, single_frame
from ctcycle.ct.dicom.headers import numbers, quiet, read_dataset, texts, unreadable
from ctcycle.ct.series import SeriesInfo
from ctcycle.ct.stored_values import StoredValues
from ctcycle.errors import SeriesError

_PLUGINS = ("pydicom", "pyjpegls", "pylibjpeg", "gdcm", "pillow")
"""Decoders, the safest and most exact first: pillow knows no 12-bit JPEG."""


@dataclass(frozen=True)
class Slice:
    """One slice of a series, decoded.

    Attributes:
        path: the file that holds it.
        frame: which of the file's frames it is, from 0; None where the file is a classic one, of a single image.
        header: as that of a classic CT image, with the transfer syntax of the file; may be changed.
        stored: its values, (1, H, W).
    """

    path: Path
    frame: int | None
    header: Dataset
    stored: StoredValues


def read_stored(info: SeriesInfo, slices: Iterable[int] | None = None) -> Iterator[StoredValues]:
    """The stored values of a series, slice by slice (1, H, W), in slice order.

    Args:
        info: a DICOM series.
        slices: which slices, from 0; all by default.

    Raises:
        SeriesError: a file is cut off, damaged, compressed in a way that no decoder here knows, or has changed.
    """
    return (item.stored for item in read_slices(info, slices))


def read_slices(info: SeriesInfo, slices: Iterable[int] | None = None) -> Iterator[Slice]:
    """The slices of a series with their headers, one at a time; of a file with many frames one frame is decoded.

    Args:
        info: a DICOM series.
        slices: which slices, from 0; all by default.

    Raises:
        SeriesError: as `read_stored`.
    """
    places = _places(info)
    opened: Path | None = None
    for path, index in places if slices is None else (places[number] for number in slices):
        if path != opened:
            dataset, opened = read_dataset(path), path
        try:
            with quiet():
                found = _slice(path, index, dataset, info.shape[1:])
        except SeriesError:
            raise
        except Exception as error:  # noqa: BLE001 (an element of the wrong type makes pydicom raise anything)
            raise unreadable(path, error) from None
        yield found


def _places(info: SeriesInfo) -> list[tuple[Path, int]]:
    """The file and frame of every slice."""
    if len(info.files) == info.shape[0]:  # no file is without an image
        return [(file, 0) for file in info.files]
    places = [(header.path, header.frame) for header in in_order(info.files)]
    if len(places) != info.shape[0]:
        raise SeriesError(
            f"{info.path}: has {len(places)} frames and had {info.shape[0]} when it was found; scan it again"
        )
    return places


def _slice(path: Path, index: int, dataset: Dataset, shape: tuple[int, int]) -> Slice:
    multi_frame = is_multi_frame(dataset)
    values = _decoded(path, dataset, index if multi_frame else None)
    try:
        header = single_frame(dataset, index) if multi_frame else dataset
    except Exception as error:  # noqa: BLE001 (broken functional groups make pydicom raise anything)
        raise SeriesError(f"{path}: its frames have changed ({type(error).__name__}); scan the folder again") from None
    slope, intercept = numbers(header, "RescaleSlope", 1), numbers(header, "RescaleIntercept", 1)
    if values.shape != shape or slope is None or intercept is None:
        raise SeriesError(f"{path}: is {values.shape} and was {shape} when it was found; scan the folder again")
    values = values[None]
    stored = StoredValues(values, slope[0], intercept[0], _limits(header, values.dtype), _marked(header, values))
    return Slice(path, index if multi_frame else None, header, stored)


def _decoded(path: Path, dataset: Dataset, frame: int | None) -> NDArray[np.generic]:
    _check_storage(path, dataset)
    syntax = UID("/".join(texts(dataset.file_meta, "TransferSyntaxUID")))
    plugin = _plugin(path, syntax)
    try:
        return np.asarray(pixel_array(dataset, index=frame, decoding_plugin=plugin))
    except AttributeError:
        raise SeriesError(
            f"{path}: no pixel data, or nothing that describes it, as when a file is cut off; copy or export it again"
        ) from None
    except Exception as error:  # damaged pixels make the decoders raise anything
        raise SeriesError(
            f"{path}: the pixels cannot be decoded ({syntax.name}, {type(error).__name__}); the file is "
            "cut off, damaged or of an unknown kind, copy it again or convert it to Explicit VR Little Endian"
        ) from error


def _check_storage(path: Path, dataset: Dataset) -> None:
    """Refuses what CT does not store: decoders in other languages may end the process instead of raising.

    Raises:
        SeriesError: the header contradicts itself.
    """
    allocated, stored = (numbers(dataset, keyword, 1) for keyword in ("BitsAllocated", "BitsStored"))
    if allocated and stored and not (allocated[0] in {8, 16, 32} and 1 <= stored[0] <= allocated[0]):
        raise SeriesError(
            f"{path}: BitsAllocated is {allocated[0]:g} and BitsStored {stored[0]:g}; 8, 16 or 32, and no more stored "
            "than allocated, are allowed, export it again"
        )


def _plugin(path: Path, syntax: UID) -> str:
    """The decoder for a transfer syntax; empty where none is needed.

    One alone: pydicom would ask them all in turn, and gdcm aborts the process at damage that the others report.

    Raises:
        SeriesError: there is none.
    """
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        decoder = None
    if decoder is None or not decoder.is_available:
        name = syntax.name or "a file without transfer syntax"
        raise SeriesError(f"{path}: no decoder for {name}; convert it to Explicit VR Little Endian")
    return next((name for name in _PLUGINS if name in decoder.available_plugins), "")


def _limits(dataset: Dataset, dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """What BitsStored can hold, within what the type can."""
    width = 8 * dtype.itemsize
    bits = min(int((numbers(dataset, "BitsStored", 1) or (width,))[0]), width)
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)


def _marked(dataset: Dataset, values: NDArray[np.generic]) -> NDArray[np.bool_] | None:
    """Where PixelPaddingValue, or its range, stands; it may be written as the other signedness (63536 for -2000)."""
    value = numbers(dataset, "PixelPaddingValue", 1)
    if value is None:
        return None
    limit = numbers(dataset, "PixelPaddingRangeLimit", 1) or value
    low, high = sorted(np.array([value[0], limit[0]]).astype(np.int64).astype(values.dtype).tolist())
    marked: NDArray[np.bool_] = (values >= low) & (values <= high)
    return marked
