"""HU bias and linearity by tissue, and the split of an error into bias and noise.

Tissues are found in the full-dose (or true) slice after smoothing, so that its noise does not move pixels from one
class to another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TissueName = Literal["air", "lung", "fat", "soft", "bone"]

TISSUES_HU: dict[TissueName, tuple[float, float]] = {
    "air": (-np.inf, -960.0),
    "lung": (-920.0, -600.0),
    "fat": (-140.0, -70.0),
    "soft": (20.0, 140.0),
    "bone": (300.0, np.inf),
}
SMOOTHING_PX = 2.0
MAX_GRADIENT_HU_PER_PX = 12.0
"""Of the smoothed slice, inside a tissue."""

EDGE_GRADIENT_HU_PER_PX = 40.0
LIMITS_SD = 1.96
HU_WINDOW = (-1000.0, 1000.0)

Image = NDArray[np.floating]
Mask = NDArray[np.bool_]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class TissueMasks:
    """Where the tissues of a slice are.

    Attributes:
        smooth_hu: (H, W) the smoothed reference.
        tissues: (H, W) bool by name, away from edges.
        edges: (H, W), True where the smoothed reference is steep.
        outside_air: (H, W), True wherever the smoothed reference is not air.
    """

    smooth_hu: Array
    tissues: dict[TissueName, Mask]
    edges: Mask
    outside_air: Mask


@dataclass(frozen=True)
class SliceErrors:
    """Sums over one slice or several, from which means over a patient follow; add them with `add_errors`.

    Attributes:
        pixels: (7) how many in each of the tissues, at edges, and outside air.
        sum_hu: (7) sums of output minus reference there.
        moments: (5) n, sum x, sum y, sum x^2, sum xy of smoothed reference x and output y in all tissues but air.
        outside_window: (2) pixels of the output and of the reference outside the HU window.
        total_pixels: of all.
    """

    pixels: Array
    sum_hu: Array
    moments: Array
    outside_window: Array
    total_pixels: int


@dataclass(frozen=True)
class Bias:
    """Mean error of one tissue over patients.

    Attributes:
        patients: how many have the tissue.
        mean_hu: mean over patients of the mean of output minus reference; NaN without patients.
        low_hu: lower limit of agreement, mean - 1.96 SD over patients; NaN with fewer than two.
        high_hu: upper limit.
        by_patient_hu: (P) each patient's own, NaN where the tissue is missing.
    """

    patients: int
    mean_hu: float
    low_hu: float
    high_hu: float
    by_patient_hu: Array


@dataclass(frozen=True)
class TissueBias:
    """How HU of the output depart from those of the reference.

    Attributes:
        tissues: mean error by tissue, away from edges.
        edges: mean error where the reference is steep.
        outside_air: mean error of everything that is not air; clipping at -1000 HU shifts the mean of air.
        slope: of output on reference, both smoothed, over all patients and tissues but air, whose noise is clipped;
            1 without a change of gain.
        output_outside_window: share of pixels of the output outside the HU window.
        reference_outside_window: share of pixels of the reference outside it.
    """

    tissues: dict[TissueName, Bias]
    edges: Bias
    outside_air: Bias
    slope: float
    output_outside_window: float
    reference_outside_window: float


@dataclass(frozen=True)
class BiasNoise:
    """Mean squared error split into bias and noise; mse_hu2 = bias_hu2 + noise_hu2.

    Attributes:
        mse_hu2: mean over realisations and pixels of (D - t)^2, in HU^2.
        bias_hu2: B^2, the unbiased estimate of the squared bias; slightly negative where there is none.
        noise_hu2: mean over pixels of the variance between realisations.
    """

    mse_hu2: float
    bias_hu2: float
    noise_hu2: float


def tissue_masks(reference_hu: Image) -> TissueMasks:
    """Return the tissues of a full-dose or true slice (H, W) in HU, smoothed by 2 px."""
    smooth = _smoothed(reference_hu)
    steepness = np.hypot(*np.gradient(smooth))
    flat = steepness < MAX_GRADIENT_HU_PER_PX
    tissues = {name: flat & (smooth >= low) & (smooth <= high) for name, (low, high) in TISSUES_HU.items()}
    return TissueMasks(smooth, tissues, steepness > EDGE_GRADIENT_HU_PER_PX, smooth >= TISSUES_HU["air"][1])


def slice_errors(
    output_hu: Image, reference_hu: Image, masks: TissueMasks | None = None, hu_window: tuple[float, float] = HU_WINDOW
) -> SliceErrors:
    """Return the error sums of one slice (H, W) against its reference, both in HU and not clipped.

    Args:
        output_hu: what is judged: a method's output, or its input to see what was there before.
        reference_hu: the full-dose or true slice.
        masks: of the reference, where they are known already.
        hu_window: pixels outside it are counted; the window of the network or of the protocol.

    Raises:
        ValueError: the shapes differ.
    """
    if output_hu.shape != reference_hu.shape:
        raise ValueError(f"tissue bias: shapes {output_hu.shape} and {reference_hu.shape}; two equal ones are needed")
    found = masks or tissue_masks(reference_hu)
    output, reference = output_hu.astype(np.float64), reference_hu.astype(np.float64)
    error = output - reference
    regions = [*found.tissues.values(), found.edges, found.outside_air]
    inside = np.any([mask for name, mask in found.tissues.items() if name != "air"], axis=0)
    x, y = found.smooth_hu[inside], _smoothed(output)[inside]
    low, high = hu_window
    return SliceErrors(
        pixels=np.array([region.sum() for region in regions], dtype=np.float64),
        sum_hu=np.array([error[region].sum() for region in regions]),
        moments=np.array([x.size, x.sum(), y.sum(), x @ x, x @ y]),
        outside_window=np.array([float(np.sum((hu < low) | (hu > high))) for hu in (output, reference)]),
        total_pixels=error.size,
    )


def add_errors(parts: Sequence[SliceErrors]) -> SliceErrors:
    """Return the error sums of several slices, such as all slices of a patient."""
    return SliceErrors(
        pixels=np.sum([part.pixels for part in parts], axis=0),
        sum_hu=np.sum([part.sum_hu for part in parts], axis=0),
        moments=np.sum([part.moments for part in parts], axis=0),
        outside_window=np.sum([part.outside_window for part in parts], axis=0),
        total_pixels=sum(part.total_pixels for part in parts),
    )


def tissue_bias(patients: Sequence[SliceErrors]) -> TissueBias:
    """Return mean errors with limits of agreement over patients (Bland and Altman 1986), and the slope.

    The smoothed output is regressed on the smoothed reference over all tissues but air. Without smoothing, the
    reference's noise would lower the slope; smoothing the reference only would raise it near edges.

    Args:
        patients: the error sums of each patient.

    Raises:
        ValueError: no patient.
    """
    if not patients:
        raise ValueError("tissue bias: no patient; at least one is needed")
    means = np.array([_means(patient) for patient in patients])
    biases = [_bias(column) for column in means.T]
    total = add_errors(patients)
    output, reference = (total.outside_window / total.total_pixels).tolist()
    tissues = dict(zip(TISSUES_HU, biases, strict=False))
    return TissueBias(tissues, biases[-2], biases[-1], _slope(total.moments), output, reference)


def outside_air(reference_hu: Image) -> Mask:
    """Return where a full-dose or true slice (H, W) in HU, smoothed by 2 px, is not air."""
    mask: Mask = _smoothed(reference_hu) >= TISSUES_HU["air"][1]
    return mask


def air_free_bias_hu(output_hu: Image, reference_hu: Image, mask: Mask | None = None) -> float:
    """Return the mean of output minus reference where the smoothed reference is not air, in HU; NaN if all is air.

    Args:
        output_hu: (H, W).
        reference_hu: (H, W).
        mask: `outside_air` of the reference, where it is known already.
    """
    found = outside_air(reference_hu) if mask is None else mask
    error = output_hu.astype(np.float64) - reference_hu
    return float(error[found].mean()) if found.any() else float("nan")


def split_bias_and_noise(outputs_hu: Image, truth_hu: Image, mask: Mask | None = None) -> BiasNoise:
    """Split the mean squared error of several noise realisations into bias and noise.

    B^2 = sum (mean D - t)^2 / n - noise / R: the mean over R realisations has noise of its own, which is subtracted.

    Args:
        outputs_hu: (R, H, W) outputs of the same slice under R independent noise realisations, two or more.
        truth_hu: (H, W) t, the slice without noise.
        mask: (H, W), True where pixels count; everywhere by default.

    Raises:
        ValueError: fewer than two realisations, or shapes differ.
    """
    count = len(outputs_hu)
    if count < 2 or outputs_hu.shape[1:] != truth_hu.shape:
        raise ValueError(
            f"bias and noise: outputs {outputs_hu.shape}, truth {truth_hu.shape}; two or more outputs of its shape"
        )
    inside = np.ones(truth_hu.shape, dtype=np.bool_) if mask is None else mask
    error = outputs_hu.astype(np.float64)[:, inside] - truth_hu[inside]
    noise = float(error.var(axis=0, ddof=1).mean())
    bias = float(np.mean(error.mean(axis=0) ** 2)) - noise / count
    return BiasNoise(float(np.mean(error**2)), bias, noise)


def _smoothed(hu: Image) -> Array:
    smooth: Array = ndimage.gaussian_filter(hu.astype(np.float64), SMOOTHING_PX, mode="nearest")
    return smooth


def _means(errors: SliceErrors) -> Array:
    missing = np.full_like(errors.sum_hu, np.nan)
    means: Array = np.divide(errors.sum_hu, errors.pixels, out=missing, where=errors.pixels > 0)
    return means


def _bias(by_patient: Array) -> Bias:
    present = by_patient[np.isfinite(by_patient)]
    mean = float(present.mean()) if present.size else float("nan")
    spread = LIMITS_SD * float(present.std(ddof=1)) if present.size > 1 else float("nan")
    return Bias(present.size, mean, mean - spread, mean + spread, by_patient)


def _slope(moments: Array) -> float:
    count, x, y, xx, xy = moments.tolist()
    spread = count * xx - x * x
    return (count * xy - x * y) / spread if spread > 0 else float("nan")
