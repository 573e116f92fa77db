"""Reference-free noise of a slice: in soft tissue (from `ctcycle.ct.measures`), and above a frequency."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.ct.measures import MIN_WINDOWS, soft_tissue_noise, tissue_windows

__all__ = ["MIN_WINDOWS", "highpass", "soft_tissue_noise", "tissue_windows"]


def highpass(hu: NDArray[np.floating], sigma: float) -> NDArray[np.float64]:
    """Return a slice (H, W) minus its Gaussian-smoothed version (``sigma`` in pixels): fine detail and noise, in HU."""
    image = hu.astype(np.float64)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(image, sigma, mode="reflect")
    return image - smooth
