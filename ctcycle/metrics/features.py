"""Stability of first-order and texture features of flat windows, as radiomics uses them."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops

FeatureName = Literal[
    "mean", "sd", "skewness", "entropy", "glcm_contrast", "glcm_homogeneity", "glcm_energy", "glcm_correlation"
]
FEATURES: tuple[FeatureName, ...] = get_args(FeatureName)

BIN_HU = 25.0
ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
MIN_WINDOWS = 2

Array = NDArray[np.float64]


def window_features(window_hu: NDArray[np.floating]) -> dict[FeatureName, float]:
    """Return the features of one window (H, W) in HU.

    mean and sd in HU (population); skewness m3 / m2^1.5; entropy in bits over bins of 25 HU; contrast, homogeneity,
    energy and correlation of the grey-level co-occurrence matrix of those bins (Haralick 1973), for neighbours one
    pixel apart, symmetric, averaged over four directions. The bins start at multiples of 25 HU, so that equal HU are
    equal grey levels in every image.
    """
    hu = window_hu.astype(np.float64)
    levels = np.floor(hu / BIN_HU).astype(np.int64)
    levels -= levels.min()
    probability = np.bincount(levels.ravel()) / levels.size
    found = probability[probability > 0]
    centred = hu - hu.mean()
    variance = float(np.mean(centred**2))
    skewness = float(np.mean(centred**3)) / variance**1.5 if variance else 0.0
    entropy = float(-np.sum(found * np.log2(found))) + 0.0
    return {
        "mean": float(hu.mean()),
        "sd": float(np.sqrt(variance)),
        "skewness": skewness,
        "entropy": entropy,
        **_co_occurrence(levels),
    }


def concordance(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Return Lin's concordance correlation coefficient, 2 cov / (var1 + var2 + (mean1 - mean2)^2) (Lin 1989).

    1 for equal figures; a shift or a change of scale lowers it, unlike the correlation. 1 where both are the same
    constant.

    Raises:
        ValueError: the two differ in length, or fewer than two figures.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.size < MIN_WINDOWS:
        raise ValueError(f"concordance: {one.size} and {two.size} figures; as many of each, two or more, are needed")
    covariance = float(np.mean((one - one.mean()) * (two - two.mean())))
    spread = float(one.var() + two.var() + (one.mean() - two.mean()) ** 2)
    return 2 * covariance / spread if spread else 1.0


def concordance_of_sums(sums: Array) -> float:
    """Return Lin's concordance from the sums n, Σx, Σy, Σx², Σy², Σxy, such as over many slices.

    NaN for fewer than `MIN_WINDOWS` figures.
    """
    count = float(sums[0])
    if count < MIN_WINDOWS:
        return float("nan")
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (sums[1:] / count).tolist()
    variances = max(mean_xx - mean_x**2, 0.0) + max(mean_yy - mean_y**2, 0.0)
    spread = variances + (mean_x - mean_y) ** 2
    return 2 * (mean_xy - mean_x * mean_y) / spread if spread > 0 else 1.0


def feature_stability(
    windows_hu: Sequence[NDArray[np.floating]], reference_hu: Sequence[NDArray[np.floating]]
) -> dict[FeatureName, float]:
    """Return the concordance of each feature of output (or input) with that of full dose, over flat windows.

    Args:
        windows_hu: windows of 32x32 pixels, one anatomical place each.
        reference_hu: the same windows at full dose.

    Raises:
        ValueError: as `concordance`.
    """
    ours, theirs = ([window_features(hu) for hu in windows] for windows in (windows_hu, reference_hu))
    return {name: concordance([f[name] for f in ours], [f[name] for f in theirs]) for name in FEATURES}


def _co_occurrence(levels: NDArray[np.int64]) -> dict[FeatureName, float]:
    grey = levels.astype(np.uint16)
    levels_count = int(grey.max()) + 1
    matrix = graycomatrix(  # type: ignore[no-untyped-call]
        grey, [1], ANGLES, levels=levels_count, symmetric=True, normed=True
    )

    def mean(name: str) -> float:
        return float(graycoprops(matrix, name).mean())  # type: ignore[no-untyped-call]

    return {
        "glcm_contrast": mean("contrast"),
        "glcm_homogeneity": mean("homogeneity"),
        "glcm_energy": mean("energy"),
        "glcm_correlation": mean("correlation"),
    }
