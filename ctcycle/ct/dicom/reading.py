"""Read stored values from DICOM files: decoding, rescale of each slice, padding."""

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
from ctcycle.ct.dicom.headers import numbers, read_dataset, texts, unreadable
from ctcycle.ct.dicom.padding import declared_range, marked_pixels
from ctcycle.ct.dicom.silence import quiet
from ctcycle.ct.series import SeriesInfo
from ctcycle.ct.stored_values import StoredValues
from ctcycle.errors import SeriesError

_PLUGINS = ("pydicom", "pyjpegls", "pylibjpeg", "gdcm", "pillow")
"""Decoders, safest and most accurate first; pillow does not support 12-bit JPEG."""


@dataclass(frozen=True)
class Slice:
    """A decoded slice of a series.

    Attributes:
        path: the file that holds it.
        frame: index of the frame in the file, from 0; None for a classic single-frame file.
        header: in the form of a classic CT image, with the transfer syntax of the file; callers may change it.
        stored: its stored values, (1, H, W).
    """

    path: Path
    frame: int | None
    header: Dataset
    stored: StoredValues


def read_stored(info: SeriesInfo, slices: Iterable[int] | None = None) -> Iterator[StoredValues]:
    """Yield the stored values of a series slice by slice (1, H, W), in slice order.

    Args:
        info: a DICOM series.
        slices: indices of the slices to read, from 0; all by default.

    Raises:
        SeriesError: a file is truncated, damaged, has changed, or uses a compression without an installed decoder.
    """
    return (item.stored for item in read_slices(info, slices))


def read_slices(info: SeriesInfo, slices: Iterable[int] | None = None) -> Iterator[Slice]:
    """Yield the slices of a series with their headers, decoding one frame at a time.

    Args:
        info: a DICOM series.
        slices: indices of the slices to read, from 0; all by default.

    Raises:
        SeriesError: as for `read_stored`.
    """
    frames = _frames(info)
    opened: Path | None = None
    for path, index in frames if slices is None else (frames[number] for number in slices):
        if path != opened:
            dataset, opened = read_dataset(path), path
        try:
            with quiet():
                found = _slice(path, index, dataset, info.shape[1:])
        except SeriesError:
            raise
        except Exception as error:  # noqa: BLE001 (pydicom can raise anything on an element of the wrong type)
            raise unreadable(path, error) from None
        yield found


def _frames(info: SeriesInfo) -> list[tuple[Path, int]]:
    """Return the file and frame of every slice."""
    if len(info.files) == info.shape[0]:  # every file holds at least one image
        return [(file, 0) for file in info.files]
    frames = [(header.path, header.frame) for header in in_order(info.files)]
    if len(frames) != info.shape[0]:
        raise SeriesError(
            f"{info.path}: has {len(frames)} frames, but had {info.shape[0]} when it was found; scan it again"
        )
    return frames


def _slice(path: Path, index: int, dataset: Dataset, shape: tuple[int, int]) -> Slice:
    multi_frame = is_multi_frame(dataset)
    values = _decoded(path, dataset, index if multi_frame else None)
    try:
        header = single_frame(dataset, index) if multi_frame else dataset
    except Exception as error:  # noqa: BLE001 (pydicom can raise anything on broken functional groups)
        raise SeriesError(f"{path}: its frames have changed ({type(error).__name__}); scan the folder again") from None
    slope, intercept = numbers(header, "RescaleSlope", 1), numbers(header, "RescaleIntercept", 1)
    if values.shape != shape or slope is None or intercept is None:
        raise SeriesError(f"{path}: shape is {values.shape}, but was {shape} when it was found; scan the folder again")
    values = values[None]
    stored = StoredValues(
        values, slope[0], intercept[0], _limits(header, values.dtype), _marked(header, values, (slope[0], intercept[0]))
    )
    return Slice(path, index if multi_frame else None, header, stored)


def _decoded(path: Path, dataset: Dataset, frame: int | None) -> NDArray[np.generic]:
    _check_storage(path, dataset)
    syntax = UID("/".join(texts(dataset.file_meta, "TransferSyntaxUID")))
    plugin = _plugin(path, syntax)
    try:
        return np.asarray(pixel_array(dataset, index=frame, decoding_plugin=plugin))
    except AttributeError:
        raise SeriesError(
            f"{path}: pixel data or its description is missing, the file may be truncated; copy or re-export it"
        ) from None
    except Exception as error:  # decoders can raise anything on damaged pixels
        raise SeriesError(
            f"{path}: cannot decode the pixels ({syntax.name}, {type(error).__name__}), the file may be truncated, "
            "damaged or of an unsupported kind; copy it again or convert it to Explicit VR Little Endian"
        ) from error


def _check_storage(path: Path, dataset: Dataset) -> None:
    """Check BitsAllocated and BitsStored: on impossible values, native decoders may abort the process.

    Raises:
        SeriesError: the values are invalid.
    """
    allocated, stored = (numbers(dataset, keyword, 1) for keyword in ("BitsAllocated", "BitsStored"))
    if allocated and stored and not (allocated[0] in {8, 16, 32} and 1 <= stored[0] <= allocated[0]):
        raise SeriesError(
            f"{path}: BitsAllocated={allocated[0]:g}, BitsStored={stored[0]:g}; must be 8, 16 or 32 allocated "
            "and no more stored than allocated, re-export it"
        )


def _plugin(path: Path, syntax: UID) -> str:
    """Return the decoder for a transfer syntax; empty if none is needed.

    Only one is used: pydicom would try them all in turn, and gdcm aborts the process on damage that others report.

    Raises:
        SeriesError: no decoder is installed.
    """
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        decoder = None
    if decoder is None or not decoder.is_available:
        name = syntax.name or "a file without a transfer syntax"
        raise SeriesError(f"{path}: no decoder for {name}; convert it to Explicit VR Little Endian")
    return next((name for name in _PLUGINS if name in decoder.available_plugins), "")


def _limits(dataset: Dataset, dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """Return the range of BitsStored, limited to that of the data type."""
    width = 8 * dtype.itemsize
    bits = min(int((numbers(dataset, "BitsStored", 1) or (width,))[0]), width)
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dtype.kind == "i" else (0, (1 << bits) - 1)


def _marked(dataset: Dataset, values: NDArray[np.generic], rescale: tuple[float, float]) -> NDArray[np.bool_] | None:
    ends = (numbers(dataset, keyword, 1) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    value, limit = (None if end is None else end[0] for end in ends)
    declared = declared_range(value, limit, values.dtype)
    return None if declared is None else marked_pixels(declared, rescale, values)
