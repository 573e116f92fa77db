"""Denoisers without training: the sanity rows of every table.

Their strength follows from the noise that `soft_tissue_noise` finds in the slice itself, by rules that were set on
simulated scans (filtered back-projection with three kernels, 20 to 190 HU of noise), never on the scans under test.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from ctcycle.metrics.noise import soft_tissue_noise

HUImage = NDArray[np.float32]
HUFilter = Callable[[HUImage], HUImage]
"""One slice (H, W) in HU to the denoised slice, in HU; safe to call from several threads."""

AIR_HU = -1000.0

NLM_STRENGTH = 0.8
"""Filtering parameter h over noise, as scikit-image advises where the noise's variance is subtracted from distances."""

NLM_PATCH_PX = 7
NLM_REACH_PX = 9


def identity(low: HUImage) -> HUImage:
    """The low-dose slice as it is: what every method has to beat."""
    return low


def constant(low: HUImage) -> HUImage:
    """The slice's own mean in HU everywhere, values below air counted as air: what a collapsed model gives."""
    return np.full_like(low, np.mean(np.maximum(low, AIR_HU), dtype=np.float64))


def gaussian(low: HUImage) -> HUImage:
    """Gaussian filter with ``sigma = (noise / 45 HU) ** (1/3)`` pixels; unchanged where no noise can be measured.

    The rule is within 0.2 dB of the best sigma for simulated quarter dose against full dose, with every kernel.
    """
    noise = soft_tissue_noise(low)
    if not noise > 0:
        return low
    smooth: HUImage = ndimage.gaussian_filter(low, np.cbrt(noise / 45.0), mode="reflect")
    return smooth


def nlm(low: HUImage) -> HUImage:
    """Non-local means (Buades et al. 2005, fast form of Darbon et al. 2008); unchanged where no noise can be measured.

    7x7 patches within 9 pixels, h = 0.8 noise.
    """
    noise = soft_tissue_noise(low)
    if not noise > 0:
        return low
    smooth: HUImage = denoise_nl_means(
        low,
        patch_size=NLM_PATCH_PX,
        patch_distance=NLM_REACH_PX,
        h=NLM_STRENGTH * noise,
        sigma=noise,
        fast_mode=True,
    )
    return smooth


CLASSICAL: dict[str, HUFilter] = {"input": identity, "constant": constant, "gaussian": gaussian, "nlm": nlm}
"""By the names that results use."""
