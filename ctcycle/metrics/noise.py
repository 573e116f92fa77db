"""Noise of one slice without any reference: in soft tissue (`ctcycle.ct.measures`), and above a frequency."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.ct.measures import MIN_WINDOWS, soft_tissue_noise, tissue_windows

__all__ = ["MIN_WINDOWS", "highpass", "soft_tissue_noise", "tissue_windows"]


def highpass(hu: NDArray[np.floating], sigma: float) -> NDArray[np.float64]:
    """What a Gaussian of ``sigma`` pixels removes from a slice (H, W): fine structure and noise around zero, in HU."""
    image = hu.astype(np.float64)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(image, sigma, mode="reflect")
    return image - smooth
