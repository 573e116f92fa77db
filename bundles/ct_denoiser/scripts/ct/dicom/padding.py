# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Padding as a DICOM header declares it, and which of it may be believed."""

import numpy as np
from numpy.typing import NDArray

_HIGHEST_PADDING_HU = -900.0
"""Tissue is brighter, even lungs hardly ever darker."""

_BRIGHTEST_HU = 10_000.0
"""Brighter than anything in a scan."""

_SHORTEST_LINE = 1 / 64
"""Of the side of an image. Shorter lines of a value that tissue can have are noise at the border of a body."""

Range = tuple[int, int]


def declared_range(value: float | None, limit: float | None, dtype: np.dtype[np.generic]) -> Range | None:
    """Return the lowest and highest stored value of padding; None if the header declares none.

    Values may have the wrong signedness, such as 63536 for -2000.

    Args:
        value: PixelPaddingValue; None if it is missing.
        limit: PixelPaddingRangeLimit, likewise.
        dtype: data type of the stored values.
    """
    if value is None:
        return None
    ends = np.array([value, value if limit is None else limit])
    low, high = sorted(ends.astype(np.int64).astype(dtype).tolist())
    return low, high


def doubt(declared: Range, rescale: tuple[float, float]) -> str:
    """Return a sentence about padding that tissue can have; empty if no tissue has it.

    Args:
        declared: from `declared_range`.
        rescale: slope and intercept to HU.
    """
    low, high = _in_hu(declared, rescale)
    if not _is_tissue(low, high):
        return ""
    if low != high:
        return f"declares {low:g} to {high:g} HU as padding, which includes tissue; the declaration is ignored"
    return f"declares {low:g} HU as padding, which tissue can have; only areas at the border of a slice are padding"


def marked_pixels(
    declared: Range, rescale: tuple[float, float], values: NDArray[np.generic]
) -> NDArray[np.bool_] | None:
    """Return where pixels are padding, (..., H, W) bool; None if the declared range may not be believed.

    A value that tissue can have marks only what it joins with the border of the image; a range of such values, nothing.

    Args:
        declared: from `declared_range`.
        rescale: slope and intercept to HU.
        values: (..., H, W), as stored.
    """
    low, high = declared
    marked: NDArray[np.bool_] = (values >= low) & (values <= high)  # type: ignore[operator]
    if not _is_tissue(*_in_hu(declared, rescale)):
        return marked
    return _joined_with_border(marked) if low == high else None


def _in_hu(declared: Range, rescale: tuple[float, float]) -> tuple[float, float]:
    low, high = sorted(rescale[0] * end + rescale[1] for end in declared)
    return low, high


def _is_tissue(low: float, high: float) -> bool:
    return high > _HIGHEST_PADDING_HU and low < _BRIGHTEST_HU


def _joined_with_border(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels from which a straight, long line of marked pixels leads to the border of the image."""
    joined = np.zeros_like(marked)
    for axis in (-2, -1):
        joined |= _lines(marked, axis)
        joined |= np.flip(_lines(np.flip(marked, axis), axis), axis)
    return joined


def _lines(marked: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Return the lines of marked pixels that start at index 0 of an axis and are long."""
    lines: NDArray[np.bool_] = np.logical_and.accumulate(marked, axis=axis)
    long: NDArray[np.bool_] = lines.sum(axis=axis, keepdims=True) >= max(2, _SHORTEST_LINE * marked.shape[axis])
    return lines & long
