"""Classical denoisers that need no training: the baselines of every results table.

Their strength depends on the noise that `soft_tissue_noise` measures in the slice, by rules tuned on simulated scans
(filtered back-projection with three kernels, 20 to 190 HU of noise), never on the scans under test.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from ctcycle.metrics.noise import soft_tissue_noise

HUImage = NDArray[np.float32]
HUFilter = Callable[[HUImage], HUImage]
"""Denoises one slice (H, W) in HU; safe to call from several threads."""

AIR_HU = -1000.0

NLM_STRENGTH = 0.8
"""Filter parameter h as a factor of the noise, as scikit-image recommends when `sigma` is given."""

NLM_PATCH_PX = 7
NLM_REACH_PX = 9


def identity(low: HUImage) -> HUImage:
    """Return the low-dose slice unchanged: the baseline that every method has to beat."""
    return low


def constant(low: HUImage) -> HUImage:
    """Return a slice of constant mean HU, with values below air counted as air: the output of a collapsed model."""
    return np.full_like(low, np.mean(np.maximum(low, AIR_HU), dtype=np.float64))


def gaussian(low: HUImage) -> HUImage:
    """Apply a Gaussian filter with ``sigma = (noise / 240 HU) ** (1/3)`` pixels.

    The slice is returned unchanged if no noise can be measured. In PSNR, the rule is within 0.1 dB of the best sigma
    for real quarter dose against full dose (Mayo 2016: B30f 0.55 px at 37 HU, D45f 0.7 px at 86 HU) and for phantoms.
    """
    noise = soft_tissue_noise(low)
    if not noise > 0:
        return low
    smooth: HUImage = ndimage.gaussian_filter(low, np.cbrt(noise / 240.0), mode="reflect")
    return smooth


def nlm(low: HUImage) -> HUImage:
    """Apply non-local means (Buades et al. 2005, in the fast form of Darbon et al. 2008).

    Patches are 7x7 pixels, compared within 9 pixels, and h = 0.8 noise. The slice is returned unchanged if no noise can
    be measured.
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
"""The classical denoisers by their name in results."""
