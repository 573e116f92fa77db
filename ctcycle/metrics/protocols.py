"""The named protocols for PSNR, SSIM, RMSE and MAE, which `ctcycle.ct.measures` computes."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.ct.measures import HU2000, Protocol, Scores, score
from ctcycle.metrics import ProtocolName

__all__ = ["PROTOCOLS", "Protocol", "Scores", "body_mask", "score"]

BODY_THRESHOLD_HU = -500.0

PROTOCOLS: dict[ProtocolName, Protocol] = {
    "hu2000": HU2000,
    "report2024": Protocol(
        "report2024",
        low_hu=-1000.0,
        high_hu=None,
        psnr_range=1.0,
        ssim_range=2.0,
        ssim_window="uniform",
        to_unit=True,
        description="the 2024 report: HU clipped below at -1000, mapped by (HU + 1000)/(max(reference) + 1000), "
        "PSNR range 1, SSIM 7x7 with data_range 2 (inflates SSIM by 0.02 to 0.06)",
    ),
    "abdomen": Protocol.of_window("abdomen", -160.0, 240.0, ", as RED-CNN"),
    "dugan": Protocol.of_window("dugan", -300.0, 300.0, ", as DU-GAN"),
}


def body_mask(hu: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return the mask of the body in a slice (H, W) in HU.

    The body is the largest connected region above -500 HU, with its holes (lungs, bowel) filled. The mask is all False
    if nothing is above -500 HU.
    """
    parts, count = ndimage.label(hu > BODY_THRESHOLD_HU)
    if count == 0:
        return np.zeros(hu.shape, dtype=np.bool_)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(parts == largest)
    return filled
