# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
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
from numpy.typing import NDArray

from scripts.ct.measures import (
    NOISE_WINDOW,
    means_in_windows,
    smoothed,
    soft_tissue_noise,
    tissue_windows,
    window_deviations,
)
from scripts.errors import BundleError

EDGES_HU = (-900.0, -700.0, -400.0, -200.0, -30.0, 20.0, 80.0, 200.0, 500.0)
"""Between air, lung, its borders, fat, water, soft tissue, contrast, spongy and dense bone."""

_TISSUE = 2
"""First range of the histogram that counts: how much air and lung there is, the field of view and the level decide."""

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
        smooth = smoothed(hu)
        counts += np.bincount(np.digitize(smooth.ravel(), EDGES_HU), minlength=len(counts)) / smooth.size
        noise.append(_noise(hu))
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


def _noise(hu: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Deviation and correlation in the evenest 30 % of the windows that hold soft tissue alone."""
    windows = tissue_windows(hu)
    noise = soft_tissue_noise(hu, windows)
    if math.isnan(noise):
        return math.nan, math.nan
    image, border = np.asarray(hu, dtype=np.float64), NOISE_WINDOW // 2
    steps = (
        means_in_windows(np.diff(image, axis=0) ** 2, rows=NOISE_WINDOW - 1)
        + means_in_windows(np.diff(image, axis=1) ** 2, columns=NOISE_WINDOW - 1)
    ) / 2
    deviations = window_deviations(hu, windows)
    even = deviations <= noise
    spread = float(np.mean(deviations[even] ** 2))
    step = float(np.mean(steps[windows[border:-border, border:-border]][even]))
    return noise, 1 - step / (2 * spread) if spread > _MIN_VARIANCE else math.nan
