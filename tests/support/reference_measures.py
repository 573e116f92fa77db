"""The measures of `ctcycle.ct.measures`, computed with scikit-image and scipy, which bundles do without."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity

SIDE = 15


def ssim(
    output: NDArray[np.float64],
    reference: NDArray[np.float64],
    data_range: float,
    mask: NDArray[np.bool_] | None = None,
    *,
    uniform: bool = False,
) -> float:
    """Return the mean SSIM away from the border, with a Gaussian (sigma 1.5) or a uniform 7 px window."""
    shape = {"win_size": 7} if uniform else {"sigma": 1.5, "gaussian_weights": True, "use_sample_covariance": False}
    _, values = structural_similarity(output, reference, data_range=data_range, full=True, **shape)
    border = 3 if uniform else 5
    inner = (slice(border, -border), slice(border, -border))
    return float(values[inner].mean() if mask is None else values[inner][mask[inner]].mean())


def tissue_windows(hu: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return a mask of the centres of windows that contain only soft tissue."""
    smooth = ndimage.gaussian_filter(hu.astype(np.float64), 2.0, mode="reflect")
    lowest = ndimage.minimum_filter(smooth, SIDE, mode="constant", cval=-np.inf)
    highest = ndimage.maximum_filter(smooth, SIDE, mode="constant", cval=np.inf)
    windows: NDArray[np.bool_] = (lowest > -50) & (highest < 150)
    return windows


def window_deviations(hu: NDArray[np.floating], windows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the sample standard deviation in each window."""
    image = hu.astype(np.float64)
    mean, mean_square = (ndimage.uniform_filter(values, SIDE)[windows] for values in (image, image**2))
    deviations: NDArray[np.float64] = np.sqrt(np.maximum(mean_square - mean**2, 0.0) * (SIDE**2 / (SIDE**2 - 1)))
    return deviations


def soft_tissue_noise(hu: NDArray[np.floating], windows: NDArray[np.bool_] | None = None) -> float:
    """Return the 30th percentile of the standard deviations in soft tissue."""
    return float(np.percentile(window_deviations(hu, tissue_windows(hu) if windows is None else windows), 30))
