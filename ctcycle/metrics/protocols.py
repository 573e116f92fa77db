"""PSNR, SSIM, RMSE and MAE of one slice against its reference, each under a named convention.

SSIM depends on the offset of its images, not only on their range: here it is computed on HU as they are (water at 0),
except in `report2024`, which maps the images as its source does.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity

from ctcycle.errors import SeriesError
from ctcycle.metrics import ProtocolName

GAUSSIAN_WINDOW = 11
"""Width in pixels of the Gaussian SSIM window: sigma 1.5, cut off at 3.5 sigma (Wang et al. 2004)."""

UNIFORM_WINDOW = 7
"""Width in pixels of scikit-image's default SSIM window."""

BODY_THRESHOLD_HU = -500.0


@dataclass(frozen=True)
class Protocol:
    """A convention for the comparison of two slices.

    Attributes:
        name: how results name it.
        low_hu: both images are clipped below at this.
        high_hu: both images are clipped above at this; None: not clipped above.
        psnr_range: peak of the PSNR, in the units of the compared images.
        ssim_range: data range of the SSIM, in the same units.
        ssim_window: Gaussian (sigma 1.5, population covariance) or uniform (7x7, sample covariance).
        to_unit: map both images by ``(HU - low_hu) / (max(reference) - low_hu)`` first; without it they stay in HU.
        description: the convention in words, for tables and reports.
    """

    name: ProtocolName
    low_hu: float
    high_hu: float | None
    psnr_range: float
    ssim_range: float
    ssim_window: Literal["gaussian", "uniform"]
    to_unit: bool
    description: str

    @property
    def window_px(self) -> int:
        """Width of the SSIM window in pixels; no smaller image can be scored."""
        return GAUSSIAN_WINDOW if self.ssim_window == "gaussian" else UNIFORM_WINDOW

    def clip(self, hu: NDArray[np.floating]) -> NDArray[np.float64]:
        """The HU that the protocol compares, float64, any shape."""
        return np.clip(hu.astype(np.float64), self.low_hu, self.high_hu)


def _hu_window(name: ProtocolName, low_hu: float, high_hu: float, source: str) -> Protocol:
    width = high_hu - low_hu
    text = f"HU clipped to [{low_hu:g}, {high_hu:g}], range {width:g}, Gaussian SSIM (sigma 1.5){source}"
    return Protocol(name, low_hu, high_hu, width, width, "gaussian", False, text)


PROTOCOLS: dict[ProtocolName, Protocol] = {
    "hu2000": _hu_window("hu2000", -1000.0, 1000.0, ""),
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
    "abdomen": _hu_window("abdomen", -160.0, 240.0, ", as RED-CNN"),
    "dugan": _hu_window("dugan", -300.0, 300.0, ", as DU-GAN"),
}


@dataclass(frozen=True)
class Scores:
    """How far one slice is from its reference.

    Attributes:
        psnr: dB; infinite where the images are equal under the protocol.
        ssim: mean structural similarity, at most 1.
        rmse_hu: root mean squared error, in HU of the clipped images.
        mae_hu: mean absolute error, in HU of the clipped images.
        bias_hu: mean of output minus reference, in HU of the clipped images.
    """

    psnr: float
    ssim: float
    rmse_hu: float
    mae_hu: float
    bias_hu: float


def score(
    protocol: Protocol,
    output_hu: NDArray[np.floating],
    reference_hu: NDArray[np.floating],
    mask: NDArray[np.bool_] | None = None,
) -> Scores:
    """Scores ``output_hu`` (H, W) against ``reference_hu`` (H, W), both in HU, in float64.

    Args:
        protocol: the convention.
        output_hu: what is judged.
        reference_hu: what it should be.
        mask: (H, W), True where pixels count; the SSIM map is computed on the whole slice, then averaged inside.

    Raises:
        SeriesError: shapes differ, an image is not 2-D or smaller than the SSIM window, holds a value that is not
            finite, the mask leaves no pixel, or the reference is air alone under a protocol that divides by its
            maximum.
    """
    _check(protocol, output_hu, reference_hu, mask)
    output, reference = protocol.clip(output_hu), protocol.clip(reference_hu)
    error = (output - reference)[... if mask is None else mask]
    rmse = float(np.sqrt(np.mean(error**2)))
    hu_per_unit = _hu_per_unit(protocol, reference)
    psnr = 20 * np.log10(protocol.psnr_range * hu_per_unit / rmse) if rmse else np.inf
    zero = protocol.low_hu if protocol.to_unit else 0.0
    ssim = _ssim(protocol, (output - zero) / hu_per_unit, (reference - zero) / hu_per_unit, mask)
    return Scores(float(psnr), ssim, rmse, float(np.mean(np.abs(error))), float(np.mean(error)))


def body_mask(hu: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The body in a slice (H, W) in HU: the largest connected part above -500 HU, its holes (lungs, bowel) filled.

    All False where nothing is above -500 HU.
    """
    parts, count = ndimage.label(hu > BODY_THRESHOLD_HU)
    if count == 0:
        return np.zeros(hu.shape, dtype=np.bool_)
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(parts == largest)
    return filled


def _hu_per_unit(protocol: Protocol, reference: NDArray[np.float64]) -> float:
    if not protocol.to_unit:
        return 1.0
    width = float(reference.max()) - protocol.low_hu
    if width == 0:
        raise SeriesError(
            f"protocol {protocol.name}: the reference is nowhere above {protocol.low_hu:g} HU; the protocol divides by "
            "its maximum, leave this slice out"
        )
    return width


def _ssim(
    protocol: Protocol,
    output: NDArray[np.float64],
    reference: NDArray[np.float64],
    mask: NDArray[np.bool_] | None,
) -> float:
    gaussian = protocol.ssim_window == "gaussian"
    shape = {"sigma": 1.5, "use_sample_covariance": False} if gaussian else {"win_size": UNIFORM_WINDOW}
    _, ssim_map = structural_similarity(  # type: ignore[no-untyped-call]
        output, reference, data_range=protocol.ssim_range, gaussian_weights=gaussian, full=True, **shape
    )
    inner = _inner(protocol.window_px)
    return float(ssim_map[inner].mean() if mask is None else ssim_map[inner][mask[inner]].mean())


def _inner(window_px: int) -> tuple[slice, slice]:
    """Where the SSIM window lies wholly inside the image."""
    border = window_px // 2
    return slice(border, -border), slice(border, -border)


def _check(
    protocol: Protocol,
    output: NDArray[np.floating],
    reference: NDArray[np.floating],
    mask: NDArray[np.bool_] | None,
) -> None:
    where = f"protocol {protocol.name}"
    if output.shape != reference.shape or output.ndim != 2:
        raise SeriesError(f"{where}: shapes {output.shape} and {reference.shape}; two equal (H, W) are needed")
    if min(output.shape) < protocol.window_px:
        raise SeriesError(f"{where}: a slice of {output.shape} px; at least {protocol.window_px} px a side are needed")
    bad = int(np.sum(~np.isfinite(output)) + np.sum(~np.isfinite(reference)))
    if bad:
        raise SeriesError(f"{where}: {bad} values are not finite; only finite HU can be scored")
    if mask is not None and (mask.shape != output.shape or not mask[_inner(protocol.window_px)].any()):
        raise SeriesError(
            f"{where}: a mask of shape {mask.shape} with {int(mask.sum())} pixels; it must have the slice's shape "
            f"{output.shape} and a pixel away from the border"
        )
