"""The pairing guard: checks that low dose and full dose show the same anatomy.

Supervised training on mismatched slices, or on crops from different positions, collapses to a nearly constant image
without any error message (this is how the report's supervised model failed). So the match is checked before training.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ctcycle.data.pairs import SlicePair
from ctcycle.errors import ManifestError

_SOFT_HU = (-200.0, 300.0)
_BODY_HU = -500.0
_FEWEST_PIXELS = 100


def anatomy_correlation(low: NDArray[np.number], full: NDArray[np.number]) -> float:
    """Return the correlation in [-1, 1] of the anatomy of two slices (H, W) in HU, insensitive to noise and outline.

    Both are clipped to soft tissue, band-passed (Gaussians of 2 and 12 px) and compared inside the body. It is 0.99 for
    real pairs of quarter and full dose, within ±0.13 for slices of different patients, and at most 0.8 for adjacent
    slices of one patient (22 slices of the Mayo 2016 challenge). It is 1.0 if there is no body to compare.
    """
    first, second = (np.asarray(image, dtype=np.float32) for image in (low, full))
    body = np.maximum(gaussian_filter(first, 4), gaussian_filter(second, 4)) > _BODY_HU
    if body.sum() < _FEWEST_PIXELS:
        return 1.0
    bands = [_band(image)[body] for image in (first, second)]
    if min(band.std() for band in bands) == 0:
        return 1.0 if np.array_equal(first, second) else 0.0
    return float(np.corrcoef(*bands)[0, 1])


def _band(image: NDArray[np.float32]) -> NDArray[np.float32]:
    soft = image.clip(*_SOFT_HU)
    band: NDArray[np.float32] = gaussian_filter(soft, 2) - gaussian_filter(soft, 12)
    return band


def check_pair(
    low: NDArray[np.number], full: NDArray[np.number], pair: SlicePair, threshold: float, remedy: str
) -> None:
    """Raise an error if two slices (H, W) in HU do not show the same anatomy.

    Args:
        low: the low-dose slice.
        full: the full-dose slice.
        pair: the references of the slices, for the message.
        threshold: minimum correlation.
        remedy: the end of the message: what to do other than correct the pair.

    Raises:
        ManifestError: the anatomy does not match.
    """
    found = anatomy_correlation(low, full)
    if found < threshold:
        raise ManifestError(
            f"{pair_name(pair)}: anatomy does not match (correlation {found:.2f}, minimum {threshold:g}); "
            f"check the patient and the positions of both series, or {remedy}"
        )


def pair_name(pair: SlicePair) -> str:
    """Return the name of a pair for messages: series and index of both slices."""
    low, full = (f"series {ref.series} slice {ref.slice_index}" for ref in pair)
    return f"low dose ({low}) and full dose ({full})"
