"""From DICOM files to stored values: decoding, the rescale of each slice, padding."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from ctcycle.dicom.headers import numbers, quiet, read_dataset
from ctcycle.errors import SeriesError
from ctcycle.series import SeriesInfo
from ctcycle.stored import StoredValues


def read_stored(info: SeriesInfo) -> Iterator[StoredValues]:
    """The stored values of a series, slice by slice (1, H, W), in the order of its files.

    Args:
        info: a DICOM series.

    Raises:
        SeriesError: a file is cut off, damaged, compressed in a way that no decoder here knows, or has changed.
    """
    for file in info.files:
        yield stored_values(file, read_dataset(file), info.shape[1:])


def stored_values(path: Path, dataset: Dataset, shape: tuple[int, int]) -> StoredValues:
    """The stored values of one data set.

    Args:
        path: where it comes from, for messages.
        dataset: with its pixel data, compressed or not.
        shape: rows and columns that it must have.

    Returns:
        Values of the shape (1, rows, columns).

    Raises:
        SeriesError: the pixels cannot be decoded or are not of that shape.
    """
    values = _decoded(path, dataset)
    slope, intercept = numbers(dataset, "RescaleSlope", 1), numbers(dataset, "RescaleIntercept", 1)
    if values.shape != shape or slope is None or intercept is None:
        raise SeriesError(f"{path}: is {values.shape} and was {shape} when it was found; scan the folder again")
    values = values[None]
    return StoredValues(values, slope[0], intercept[0], _limits(dataset, values.dtype), _marked(dataset, values))


def _decoded(path: Path, dataset: Dataset) -> NDArray[np.generic]:
    try:
        syntax = UID(dataset.file_meta.TransferSyntaxUID)
        with quiet():
            return np.asarray(dataset.pixel_array)
    except AttributeError:
        raise SeriesError(
            f"{path}: no pixel data or no transfer syntax, as when a file is cut off; copy or export it again"
        ) from None
    except Exception as error:  # damaged pixels make the decoders raise anything
        if not _can_decode(syntax):
            raise SeriesError(
                f"{path}: no decoder for {syntax.name}; convert it to Explicit VR Little Endian"
            ) from error
        raise SeriesError(
            f"{path}: the pixels cannot be decoded ({syntax.name}, {type(error).__name__}); the file is "
            "cut off, damaged or of an unknown kind, copy it again or convert it to Explicit VR Little Endian"
        ) from error


def _can_decode(syntax: UID) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


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
