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

_TISSUE = 2
"""First range of the histogram that counts: how much air and lung there is, the field of view and the level decide."""

_SMOOTHING_PX = 2.0
_WINDOW_PX = 15
_TISSUE_HU = (-50.0, 150.0)
_PERCENTILE = 30.0
_MIN_WINDOWS = 50
_MIN_VARIANCE = 0.01

# What is far: measured on quarter- and full-dose CT of the trunk with soft and sharp kernels of three vendors, and on
# simulated CT. Patients of one dose and kernel differ by less; heads, lung kernels and grey values differ by more.
_NOISE_FACTOR = 1.5
_CORRELATION_STEP = 0.15
_MOVED_SHARE = 0.37
_TISSUE_FACTOR = 5.0

_Range = tuple[float, float, float]


@dataclass(frozen=True)
class Fingerprint:
    """What slices look like as a whole.

    Attributes:
        noise_hu: 5th, 50th and 95th percentile of the slices' noise in soft tissue; NaN where no slice has any.
        histogram: share of the pixels in each of the ranges that `EDGES_HU` divides, after smoothing; sums to 1.
        correlation: 5th, 50th and 95th percentile of the correlation between the noise of neighbouring pixels, which
            tells soft kernels (above 0.4) from sharp ones (below 0.2), whatever the dose; NaN as above.
    """

    noise_hu: _Range
    histogram: tuple[float, ...]
    correlation: _Range

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; where there is no noise, null."""
        ranges = {"noise_hu": self.noise_hu, "correlation": self.correlation}
        known = {name: [None if math.isnan(value) else value for value in values] for name, values in ranges.items()}
        return {**known, "histogram_edges_hu": list(EDGES_HU), "histogram": list(self.histogram)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`.

        Raises:
            ValueError: it was not made by `as_dict` of this version.
        """
        try:
            noise_hu, correlation = _range(content["noise_hu"]), _range(content["correlation"])
            histogram = tuple(float(value) for value in content["histogram"])
            edges = tuple(content["histogram_edges_hu"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("needs 'noise_hu', 'correlation', 'histogram' and 'histogram_edges_hu'") from error
        if edges != EDGES_HU or len(histogram) != len(EDGES_HU) + 1 or not abs(sum(histogram) - 1) < 1e-3:
            raise ValueError("its histogram is of another version, or does not sum to 1")
        return cls(noise_hu, histogram, correlation)


def read_fingerprint(path: Path) -> Fingerprint:
    """Reads a fingerprint that was written as JSON.

    Raises:
        BundleError: the file is missing or damaged.
    """
    try:
        return Fingerprint.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
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
        noise.append(_noise(hu, smooth))
    if not noise:
        raise ValueError("a fingerprint needs at least one slice")
    deviations, correlations = zip(*noise, strict=True)
    return Fingerprint(_percentiles(deviations), tuple((counts / len(noise)).tolist()), _percentiles(correlations))


def departures(fingerprint: Fingerprint, slices: Iterable[NDArray[np.floating[Any]]]) -> list[str]:
    """How slices depart from what a model was trained on: a sentence each, with the figures; empty if they do not.

    Args:
        fingerprint: of the training slices.
        slices: (H, W) each, in HU.

    Raises:
        ValueError: there are no slices.
    """
    found = measure_fingerprint(slices)
    sentences = (
        _noise_departs(fingerprint, found),
        _kernel_departs(fingerprint, found),
        _body_departs(fingerprint, found),
    )
    return [sentence for sentence in sentences if sentence]


def soft_tissue_noise(hu: NDArray[np.floating[Any]]) -> float:
    """Noise in the soft tissue of a slice (H, W), in HU; NaN where there is too little.

    The figure of `ctcycle.metrics.noise.soft_tissue_noise`, without scipy.
    """
    return _noise(hu, _smoothed(hu))[0]


def _noise_departs(trained: Fingerprint, found: Fingerprint) -> str:
    low, _, high = trained.noise_hu
    noise = found.noise_hu[1]
    before = f"the model was trained on {low:.3g} to {high:.3g} HU"
    if math.isnan(noise) and not math.isnan(low):
        return f"no even soft tissue in which noise could be measured; {before} of it"
    if noise < low / _NOISE_FACTOR:
        return f"noise of {noise:.3g} HU in soft tissue; {before}, so that there is little for it to remove"
    if noise > high * _NOISE_FACTOR:
        return f"noise of {noise:.3g} HU in soft tissue; {before}, so that noise may stay, or details may go"
    return ""


def _kernel_departs(trained: Fingerprint, found: Fingerprint) -> str:
    low, _, high = trained.correlation
    grain = found.correlation[1]
    if low - _CORRELATION_STEP <= grain <= high + _CORRELATION_STEP or math.isnan(grain) or math.isnan(low):
        return ""
    kind = "sharper" if grain < low else "softer"
    return (
        f"noise of neighbouring pixels correlates by {grain:.2f}; the model was trained on {low:.2f} to {high:.2f}, "
        f"so that this is a {kind} kernel, another pixel size or other processing"
    )


def _body_departs(trained: Fingerprint, found: Fingerprint) -> str:
    tissue, before = (np.array(one.histogram[_TISSUE:]) for one in (found, trained))
    share, usual = float(tissue.sum()), float(before.sum())
    if share * _TISSUE_FACTOR < usual:
        return (
            f"{share:.1%} of the images is tissue; the model was trained on {usual:.1%}, so that this is nearly all air"
        )
    difference = tissue / share - before / usual if usual else tissue
    moved = float(np.abs(difference).sum()) / 2
    if moved <= _MOVED_SHARE:
        return ""
    most = int(np.argmax(difference))
    return (
        f"{moved:.0%} of the tissue has other HU than the model was trained on, most of it {_between(most + _TISSUE)}, "
        "so that this is another region of the body, another unit or no CT"
    )


def _between(index: int) -> str:
    if index == len(EDGES_HU):
        return f"above {EDGES_HU[-1]:.0f} HU"
    return f"between {EDGES_HU[index - 1]:.0f} and {EDGES_HU[index]:.0f} HU"


def _range(values: Iterable[float | None]) -> _Range:
    low, middle, high = (math.nan if value is None else float(value) for value in values)
    return low, middle, high


def _percentiles(values: Iterable[float]) -> _Range:
    known = [value for value in values if not math.isnan(value)] or [math.nan]
    low, middle, high = np.percentile(known, [5, 50, 95]).tolist()
    return low, middle, high


def _smoothed(hu: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """A Gaussian of 2 px: what remains of a slice is anatomy."""
    radius = int(4 * _SMOOTHING_PX)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / _SMOOTHING_PX) ** 2)
    smooth = np.asarray(hu, dtype=np.float64)
    for axis in (0, 1):
        around = [(radius, radius) if axis == side else (0, 0) for side in (0, 1)]
        padded = np.pad(smooth, around, mode="symmetric")
        shifted = (padded.take(range(start, start + smooth.shape[axis]), axis) for start in range(len(kernel)))
        smooth = sum(weight * part for weight, part in zip(kernel / kernel.sum(), shifted, strict=True))
    return smooth


def _noise(hu: NDArray[np.floating[Any]], smooth: NDArray[np.float64]) -> tuple[float, float]:
    """Deviation and correlation in the evenest 30 % of the windows that hold soft tissue alone."""
    if min(hu.shape) < _WINDOW_PX:
        return math.nan, math.nan
    image, anatomy = torch.from_numpy(np.asarray(hu, dtype=np.float64))[None], torch.from_numpy(smooth)[None]
    low, high = _TISSUE_HU
    tissue = (-_highest(-anatomy) > low) & (_highest(anatomy) < high)
    if int(tissue.sum()) < _MIN_WINDOWS:
        return math.nan, math.nan
    pixels = _WINDOW_PX**2
    mean, mean_square = _mean(image)[tissue], _mean(image**2)[tissue]
    variance = (mean_square - mean**2).clip(0) * (pixels / (pixels - 1))
    limit = np.percentile(variance.numpy(), _PERCENTILE)
    steps = (
        _mean(image.diff(dim=1) ** 2, rows=_WINDOW_PX - 1) + _mean(image.diff(dim=2) ** 2, columns=_WINDOW_PX - 1)
    ) / 2
    even = variance <= limit
    spread, step = float(variance[even].mean()), float(steps[tissue][even].mean())
    return math.sqrt(limit), 1 - step / (2 * spread) if spread > _MIN_VARIANCE else math.nan


def _highest(image: torch.Tensor) -> torch.Tensor:
    """The highest value in each whole window, one side after the other."""
    return F.max_pool2d(F.max_pool2d(image, (_WINDOW_PX, 1), stride=1), (1, _WINDOW_PX), stride=1)


def _mean(image: torch.Tensor, rows: int = _WINDOW_PX, columns: int = _WINDOW_PX) -> torch.Tensor:
    """The mean in each whole window, one side after the other."""
    return F.avg_pool2d(F.avg_pool2d(image, (rows, 1), stride=1), (1, columns), stride=1)
