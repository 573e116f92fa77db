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
        offset_hu=-1000.0,
        to_unit=True,
        description="the 2024 report: HU clipped below at -1000, mapped by (HU + 1000)/(max(reference) + 1000), "
        "PSNR range 1, SSIM 7x7 uniform with 0 at -1000 HU and data_range 2 (inflates SSIM by 0.02 to 0.06)",
    ),
    "abdomen": Protocol.of_window("abdomen", -160.0, 240.0, ", as RED-CNN"),
    "dugan": Protocol.of_window("dugan", -300.0, 300.0, " (images in [0, 1]), as DU-GAN", offset_hu=-300.0),
    "ldctbench": Protocol(
        "ldctbench",
        low_hu=-150.0,
        high_hu=250.0,
        psnr_range=400.0,
        ssim_range=400.0,
        ssim_window="uniform",
        offset_hu=-150.0,
        to_unit=False,
        description="the LDCT benchmark (Eulig et al. 2024), abdomen window: PSNR and SSIM of HU clipped to [-150, "
        "250], range 400, SSIM 7x7 uniform with 0 at -150 HU (images in [0, 1]); RMSE, MAE and bias of HU clipped to "
        "[-1024, 1900]; its windows for chest and head are not offered",
        error_limits_hu=(-1024.0, 1900.0),
    ),
    "kwon": Protocol(
        "kwon",
        low_hu=-1000.0,
        high_hu=None,
        psnr_range=1.0,
        ssim_range=1.0,
        ssim_window="uniform",
        offset_hu=0.0,
        to_unit=True,
        description="cycle-free CycleGAN (Kwon and Ye 2021): HU clipped below at -1000, PSNR and SSIM range "
        "max(reference) in HU, SSIM 7x7 uniform with 0 at 0 HU",
    ),
}
"""The conventions by name; those of other projects were read from their public code.

``ldctbench``: eeulig/ldct-benchmark, ``ldctbench/evaluate/utils.py``; ``kwon``: star-kwon/TCI_CyclefreeCycleGAN,
``inference.py`` and ``utils/dataloader.py``. Both use scikit-image's default SSIM.
"""


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
