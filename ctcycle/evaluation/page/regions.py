"""Parts of a slice that are worth showing: the body, and in it the place with the most structure."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.metrics.protocols import body_mask

MARGIN_PX = 6
RIM_PX = 12
"""Structure nearer than this to air around the body is its outline."""

SMOOTHING_PX = 2.0
SOFT_HU = (-200.0, 240.0)
EDGE_PX = 9
"""Within half of this of bone or lung, structure is their edge, which is easy to keep."""

Region = tuple[slice, slice]


def body_region(image_hu: NDArray[np.floating]) -> Region:
    """Return the rectangle around the body, with a margin; the whole image (H, W) where there is no body."""
    mask = body_mask(image_hu)
    if not mask.any():
        return slice(None), slice(None)
    ends = [np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    rows, columns = (slice(max(0, int(a) - MARGIN_PX), int(b) + MARGIN_PX + 1) for a, b in ends)
    return rows, columns


def busiest_region(image_hu: NDArray[np.floating], side: int) -> Region:
    """Return the square of the body with the most structure in soft tissue: organs and vessels, not bone or skin.

    Structure is the gradient of the smoothed image away from bone and lung, summed over the square.

    Args:
        image_hu: (H, W) in HU, full dose where there is one.
        side: of the square in pixels; smaller where the image is.
    """
    inner = ndimage.minimum_filter(body_mask(image_hu), 2 * RIM_PX + 1)
    smooth = ndimage.gaussian_filter(image_hu.astype(np.float64), SMOOTHING_PX)
    soft = ndimage.minimum_filter(smooth, EDGE_PX) > SOFT_HU[0]
    soft &= ndimage.maximum_filter(smooth, EDGE_PX) < SOFT_HU[1]
    structure = np.hypot(*np.gradient(smooth)) * (inner & soft)
    height, width = (min(side, length) for length in image_hu.shape)
    sums = np.pad(structure.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    totals = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    row, column = map(int, np.unravel_index(int(totals.argmax()), totals.shape))
    return slice(row, row + height), slice(column, column + width)
