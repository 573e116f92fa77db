"""False structures: blobs that an output shows more often than full dose does by chance.

A residual is a slice without its anatomy: output minus truth or minus full dose. Its null is the same for full dose:
the difference of two independent realisations, or full dose minus truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RADII_MM = (2.0, 3.0, 5.0)
LOCAL_WIDTHS = 8
"""Side of the window of the local mean and deviation, in widths a = 2 R of the template."""

MIN_RELATIVE_SD = 0.05
"""Lowest local deviation as a share of the slice's own: outside the reconstructed circle there is no noise."""

Array = NDArray[np.float64]
Slices = Sequence[NDArray[np.floating]]
Masks = Sequence[NDArray[np.bool_]]


@dataclass(frozen=True)
class FalseStructures:
    """How often a residual shows a blob of one size, against chance.

    Attributes:
        radius_mm: of the template.
        threshold_sd: in local standard deviations; the null exceeds it once a slice.
        per_slice: local maxima beyond it, bright or dark, per slice of the output.
        null_per_slice: per slice of the null.
        ratio: of the two; 1 for an output that invents nothing.
    """

    radius_mm: float
    threshold_sd: float
    per_slice: float
    null_per_slice: float
    ratio: float


def detection_map(residual_hu: NDArray[np.floating], radius_mm: float, spacing_mm: float) -> Array:
    """Return how far a blob stands out from its surroundings, (H, W) in local standard deviations.

    The residual (H, W) in HU is correlated with the first Laguerre-Gauss function, exp(-pi r^2 / a^2) with a = 2 R,
    which is a Gaussian of sigma a / sqrt(2 pi). The local mean is subtracted, so that a shift of the HU is no blob.
    """
    width_px = 2 * radius_mm / spacing_mm
    response = ndimage.gaussian_filter(residual_hu.astype(np.float64), width_px / np.sqrt(2 * np.pi))
    side = round(LOCAL_WIDTHS * width_px)
    centred = response - ndimage.uniform_filter(response, side)
    power = np.maximum(ndimage.uniform_filter(centred**2, side), 0.0)  # running sums round to below 0
    local = np.sqrt(power)
    floor = max(MIN_RELATIVE_SD * float(np.sqrt(np.mean(centred**2))), np.finfo(np.float64).tiny)
    found: Array = centred / np.maximum(local, floor)
    return found


def blob_peaks(found: Array, radius_mm: float, spacing_mm: float, mask: NDArray[np.bool_] | None = None) -> Array:
    """Return the size of each local maximum of |map|, in local standard deviations.

    A maximum is the largest value within R rows and columns of itself.

    Args:
        found: (H, W) what `detection_map` returned.
        radius_mm: of the template.
        spacing_mm: pixel size.
        mask: (H, W), True where maxima count.
    """
    size = np.abs(found)
    reach = int(np.ceil(radius_mm / spacing_mm))
    top = (size == ndimage.maximum_filter(size, 2 * reach + 1)) & (size > 0)
    peaks: Array = size[top if mask is None else top & mask]
    return peaks


def false_structures(
    residuals_hu: Slices,
    nulls_hu: Slices,
    spacing_mm: float,
    masks: Masks | None = None,
    null_masks: Masks | None = None,
) -> tuple[FalseStructures, ...]:
    """Count blobs in an output and in its null, for each radius of `RADII_MM`.

    The threshold is what the null exceeds once a slice.

    Args:
        residuals_hu: slices (H, W) of the output, lesion-free, without their anatomy.
        nulls_hu: slices of full dose, likewise; twenty or more, or the threshold is uncertain.
        spacing_mm: pixel size.
        masks: (H, W) of each residual, True where blobs count; everywhere by default.
        null_masks: of each null.

    Raises:
        ValueError: no slice, as many masks as slices are not given, or a null without any peak.
    """
    if not (len(residuals_hu) and len(nulls_hu)):
        raise ValueError(f"false structures: {len(residuals_hu)} slices, {len(nulls_hu)} nulls; both are needed")
    return tuple(
        count_structures(
            radius,
            _peaks(residuals_hu, masks, radius, spacing_mm),
            _peaks(nulls_hu, null_masks, radius, spacing_mm),
        )
        for radius in RADII_MM
    )


def count_structures(radius_mm: float, peaks: Sequence[Array], null_peaks: Sequence[Array]) -> FalseStructures:
    """Count the blobs of one radius, from the peaks of each slice.

    Args:
        radius_mm: of the template.
        peaks: of each slice of the output, from `blob_peaks`.
        null_peaks: of each slice of the null.

    Raises:
        ValueError: the null has no peak.
    """
    found, null = np.concatenate(peaks), np.concatenate(null_peaks)
    if not null.size:
        raise ValueError("false structures: the null has no peak at all; it must be noise of full dose")
    threshold = float(np.sort(null)[-min(len(null_peaks), null.size)])
    per_slice = float(np.sum(found >= threshold)) / len(peaks)
    null_per_slice = float(np.sum(null >= threshold)) / len(null_peaks)
    return FalseStructures(radius_mm, threshold, per_slice, null_per_slice, per_slice / null_per_slice)


def _peaks(slices: Slices, masks: Masks | None, radius_mm: float, spacing_mm: float) -> list[Array]:
    chosen: Sequence[NDArray[np.bool_] | None] = [None] * len(slices) if masks is None else masks
    maps = (detection_map(hu, radius_mm, spacing_mm) for hu in slices)
    return [blob_peaks(found, radius_mm, spacing_mm, mask) for found, mask in zip(maps, chosen, strict=True)]
