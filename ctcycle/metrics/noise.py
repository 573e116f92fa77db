"""Noise of one slice without any reference."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

WINDOW_PX = 15
"""Side of the windows: wide enough for correlated CT noise, whose power lies above 1/15 cycles a pixel, and narrow
enough to fit between the organs' borders."""

TISSUE_HU = (-50.0, 150.0)
"""Muscle, organs and blood, with or without contrast; neither fat nor bone."""

SMOOTHING_PX = 2.0
PERCENTILE = 30.0
MIN_WINDOWS = 50


def highpass(hu: NDArray[np.floating], sigma: float) -> NDArray[np.float64]:
    """What a Gaussian of ``sigma`` pixels removes from a slice (H, W): fine structure and noise around zero, in HU."""
    image = hu.astype(np.float64)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(image, sigma, mode="reflect")
    return image - smooth


def tissue_windows(hu: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where a window of `WINDOW_PX` holds soft tissue alone: (H, W) bool, True at such windows' centres.

    Judged on the smoothed slice (H, W) in HU, so that noise neither hides tissue nor makes it.
    """
    smooth = ndimage.gaussian_filter(hu.astype(np.float64), SMOOTHING_PX, mode="reflect")
    low, high = TISSUE_HU
    lowest = ndimage.minimum_filter(smooth, WINDOW_PX, mode="constant", cval=-np.inf)
    highest = ndimage.maximum_filter(smooth, WINDOW_PX, mode="constant", cval=np.inf)
    windows: NDArray[np.bool_] = (lowest > low) & (highest < high)
    return windows


def soft_tissue_noise(hu: NDArray[np.floating], windows: NDArray[np.bool_] | None = None) -> float:
    """Standard deviation of the noise in soft tissue, in HU: the 30th percentile of the deviations inside windows.

    The lower percentile keeps borders between organs out; on simulated and real scans of 16 to 200 HU noise the figure
    is within about 15 % of the truth. It cannot go below the anatomy's own texture: on very smooth images it is an
    upper bound.

    Args:
        hu: (H, W), HU.
        windows: (H, W), the windows' centres, where several images of one slice are to be compared at the same
            places; by default those of `tissue_windows`.

    Returns:
        The noise, or NaN where there is too little soft tissue.
    """
    centres = tissue_windows(hu) if windows is None else windows
    if np.count_nonzero(centres) < MIN_WINDOWS:
        return float("nan")
    image = hu.astype(np.float64)
    mean = ndimage.uniform_filter(image, WINDOW_PX)[centres]
    mean_square = ndimage.uniform_filter(image**2, WINDOW_PX)[centres]
    pixels = WINDOW_PX**2
    variance = np.maximum(mean_square - mean**2, 0.0) * (pixels / (pixels - 1))
    return float(np.percentile(np.sqrt(variance), PERCENTILE))
