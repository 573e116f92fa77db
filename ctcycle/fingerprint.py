"""What a model was trained on, in a few numbers, and how a new series departs from it.

A network answers whatever it is shown. These numbers tell a series that is unlike all it was trained on: other noise
(dose, kernel), another region of the body, another modality or unit.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ctcycle.errors import BundleError

EDGES_HU = (-900.0, -700.0, -400.0, -200.0, -30.0, 20.0, 80.0, 200.0, 500.0)
"""Between air, lung, its borders, fat, water, soft tissue, contrast, spongy and dense bone."""

_SMOOTHING_PX = 2.0
_WINDOW_PX = 15
_TISSUE_HU = (-50.0, 150.0)
_PERCENTILE = 30.0
_MIN_WINDOWS = 50


@dataclass(frozen=True)
class Fingerprint:
    """What slices look like as a whole.

    Attributes:
        noise_hu: 5th, 50th and 95th percentile of the slices' noise in soft tissue; NaN where no slice has any.
        histogram: share of the pixels in each of the ranges that `EDGES_HU` divides, after smoothing; sums to 1.
    """

    noise_hu: tuple[float, float, float]
    histogram: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; no noise is null."""
        noise = [None if math.isnan(value) else value for value in self.noise_hu]
        return {"noise_hu": noise, "histogram_edges_hu": list(EDGES_HU), "histogram": list(self.histogram)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`.

        Raises:
            ValueError: it was not made by `as_dict` of this version.
        """
        try:
            low, middle, high = (math.nan if value is None else float(value) for value in content["noise_hu"])
            histogram = tuple(float(value) for value in content["histogram"])
            edges = tuple(content["histogram_edges_hu"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("needs 'noise_hu' (3 numbers), 'histogram' and 'histogram_edges_hu'") from error
        if edges != EDGES_HU or len(histogram) != len(EDGES_HU) + 1 or not abs(sum(histogram) - 1) < 1e-3:
            raise ValueError("its histogram is of another version, or does not sum to 1")
        return cls((low, middle, high), histogram)


def read_fingerprint(path: Path) -> Fingerprint:
    """Reads a fingerprint that was written as JSON.

    Raises:
        BundleError: the file is missing or damaged.
    """
    try:
        return Fingerprint.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BundleError(f"{path}: is no fingerprint ({type(error).__name__}); export the bundle again") from error


def measure_fingerprint(slices: Iterable[NDArray[np.floating[Any]]]) -> Fingerprint:
    """The fingerprint of slices, (H, W) each, in HU.

    Raises:
        ValueError: there are none.
    """
    counts, noise = np.zeros(len(EDGES_HU) + 1), []
    for hu in slices:
        smooth = _smoothed(hu)
        counts += np.bincount(np.digitize(smooth.ravel(), EDGES_HU), minlength=len(counts)) / smooth.size
        noise.append(_noise(np.asarray(hu, dtype=np.float64), smooth))
    if not noise:
        raise ValueError("a fingerprint needs at least one slice")
    known = [value for value in noise if not math.isnan(value)] or [math.nan]
    low, middle, high = (float(value) for value in np.percentile(known, [5, 50, 95]))
    return Fingerprint((low, middle, high), tuple((counts / len(noise)).tolist()))


def departures(fingerprint: Fingerprint, slices: Iterable[NDArray[np.floating[Any]]]) -> list[str]:
    """How slices depart from what a model was trained on: a sentence each, with the figures; empty if they do not.

    Args:
        fingerprint: of the training slices.
        slices: (H, W) each, in HU.

    Raises:
        ValueError: there are no slices.
    """
    del fingerprint, slices
    return []


def soft_tissue_noise(hu: NDArray[np.floating[Any]]) -> float:
    """Noise in the soft tissue of a slice (H, W), in HU; NaN where there is too little.

    The figure of `ctcycle.metrics.noise.soft_tissue_noise`, without scipy.
    """
    return _noise(np.asarray(hu, dtype=np.float64), _smoothed(hu))


def _smoothed(hu: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """A Gaussian of 2 px: what remains of a slice is anatomy."""
    radius = int(4 * _SMOOTHING_PX)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / _SMOOTHING_PX) ** 2)
    kernel = (kernel / kernel.sum())[None, None, None]
    padded = torch.from_numpy(np.pad(np.asarray(hu, dtype=np.float64), radius, mode="symmetric"))[None, None]
    smooth: NDArray[np.float64] = F.conv2d(F.conv2d(padded, kernel), kernel.mT)[0, 0].numpy()
    return smooth


def _noise(hu: NDArray[np.float64], smooth: NDArray[np.float64]) -> float:
    """The 30th percentile of the deviations inside windows that hold soft tissue alone."""
    if min(hu.shape) < _WINDOW_PX:
        return math.nan
    image, anatomy = torch.from_numpy(hu)[None], torch.from_numpy(smooth)[None]
    low, high = _TISSUE_HU
    tissue = (-_highest(-anatomy) > low) & (_highest(anatomy) < high)
    if int(tissue.sum()) < _MIN_WINDOWS:
        return math.nan
    mean = F.avg_pool2d(image, _WINDOW_PX, stride=1)[tissue]
    mean_square = F.avg_pool2d(image**2, _WINDOW_PX, stride=1)[tissue]
    pixels = _WINDOW_PX**2
    variance = (mean_square - mean**2).clip(0) * (pixels / (pixels - 1))
    return float(np.percentile(variance.sqrt().numpy(), _PERCENTILE))


def _highest(image: torch.Tensor) -> torch.Tensor:
    """The highest value in each whole window, one side after the other."""
    rows = F.max_pool2d(image, (_WINDOW_PX, 1), stride=1)
    return F.max_pool2d(rows, (1, _WINDOW_PX), stride=1)
