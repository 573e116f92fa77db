"""Crop, flips and quarter turns as MONAI draws them, applied to views of a stored slice.

MONAI copies the whole slice and tracks what was done to it; a patch of 128 px then costs ten times as much. Draws come
from the transforms' own random states, so that patches are the same, bit for bit.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from monai.transforms import RandFlip, RandRotate90, RandSpatialCrop
from numpy.typing import NDArray

Slice = NDArray[np.int16]
Step = Callable[[Slice], Slice]


def direct_steps(parts: Sequence[Any]) -> list[Step] | None:
    """Return functions from (H, W) to (h, w) that do what these transforms do; None if one of them is not known here.

    Args:
        parts: MONAI array transforms, in order; the caller seeds their random states before each use.
    """
    steps: list[Step] = [partial(_STEPS[type(part)], part) for part in parts if type(part) in _STEPS]
    return steps if len(steps) == len(parts) else None


def _crop(part: RandSpatialCrop, image: Slice) -> Slice:
    """Crop to ``roi_size``; a side that is not longer is left as it is."""
    rows, columns = (
        slice(start, start + min(wanted, side))
        for side, wanted in zip(image.shape, part.roi_size, strict=True)  # type: ignore[arg-type]  # rows and columns
        for start in [part.R.randint(0, side - wanted + 1) if side > wanted else 0]
    )
    return image[rows, columns]


def _flip(part: RandFlip, image: Slice) -> Slice:
    axis = part.flipper.spatial_axis
    axes = tuple(axis) if isinstance(axis, Sequence) else axis
    return np.flip(image, axes) if part.R.rand() < part.prob else image


def _quarter_turns(part: RandRotate90, image: Slice) -> Slice:
    if part.R.rand() >= part.prob:
        return image
    return np.rot90(image, part.R.randint(part.max_k) + 1, part.spatial_axes)


_STEPS: dict[type, Callable[[Any, Slice], Slice]] = {
    RandSpatialCrop: _crop,
    RandFlip: _flip,
    RandRotate90: _quarter_turns,
}
