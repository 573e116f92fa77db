# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Summarise the training data of a model in a few numbers, and detect series that differ from it.

A network returns a result for any input. These numbers detect series unlike the training data: different noise (dose,
kernel), another body region, another modality or another unit.
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
    MIN_WINDOWS,
    NOISE_WINDOW,
    PERCENTILE,
    means_in_windows,
    smoothed,
    tissue_windows,
    window_deviations,
)
from scripts.ct.series import Series
from scripts.errors import BundleError
from scripts.inference.routine_dose import dose_level

EDGES_HU = (-900.0, -700.0, -400.0, -200.0, -30.0, 20.0, 80.0, 200.0, 500.0)
"""Boundaries between air, lung, lung borders, fat, water, soft tissue, contrast, spongy bone and dense bone."""

_TISSUE = 2
"""First histogram range to compare; the amount of air and lung depends on the field of view and the slice level."""

_MIN_VARIANCE = 0.01

# Thresholds, measured on quarter- and full-dose CT of the trunk with soft and sharp kernels of three vendors, and on
# simulated CT. Patients with the same dose and kernel differ by less; heads, lung kernels and grey values by more.
_NOISE_FACTOR = 1.5
_CORRELATION_STEP = 0.15
_MOVED_SHARE = 0.37
_TISSUE_FACTOR = 5.0

# Within one kernel and dose, noise varies between slices by a factor of up to 2, and a full dose has half of it. So a
# narrow range tells the doses apart by itself; a wide one comes from several kernels or doses.
_NARROW = 2.5
_MARGIN = 1.2

_Range = tuple[float, float, float]


@dataclass(frozen=True)
class Fingerprint:
    """Noise, texture and HU statistics of a set of slices.

    Attributes:
        noise_hu: 5th, 50th and 95th percentile of the slices' noise in soft tissue; NaN if no slice has soft tissue.
        histogram: fraction of pixels in each range between `EDGES_HU`, after smoothing; sums to 1.
        correlation: 5th, 50th and 95th percentile of the noise correlation between neighbouring pixels, which
            distinguishes soft kernels (above 0.4) from sharp ones (below 0.2) at any dose; NaN as above.
    """

    noise_hu: _Range
    histogram: tuple[float, ...]
    correlation: _Range

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with null for NaN."""
        ranges = {"noise_hu": self.noise_hu, "correlation": self.correlation}
        known = {name: [None if math.isnan(value) else value for value in values] for name, values in ranges.items()}
        return {**known, "histogram_edges_hu": list(EDGES_HU), "histogram": list(self.histogram)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Create a fingerprint from the output of `as_dict`.

        Raises:
            ValueError: ``content`` was not made by `as_dict` of this version.
        """
        try:
            noise_hu, correlation = _range(content["noise_hu"]), _range(content["correlation"])
            histogram = tuple(float(value) for value in content["histogram"])
            edges = tuple(content["histogram_edges_hu"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("must have 'noise_hu', 'correlation', 'histogram' and 'histogram_edges_hu'") from error
        if edges != EDGES_HU or len(histogram) != len(EDGES_HU) + 1 or not abs(sum(histogram) - 1) < 1e-3:
            raise ValueError("histogram is from another version or does not sum to 1")
        return cls(noise_hu, histogram, correlation)


def read_fingerprint(path: Path) -> Fingerprint:
    """Read a fingerprint from a JSON file.

    Raises:
        BundleError: the file is missing or damaged.
    """
    try:
        return Fingerprint.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: not a fingerprint ({type(error).__name__}); export the bundle again") from error


def measure_fingerprint(slices: Iterable[NDArray[np.floating[Any]]]) -> Fingerprint:
    """Return the fingerprint of slices, (H, W) each, in HU.

    Raises:
        ValueError: there are no slices.
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
    """Return how slices differ from the training data, one sentence with figures each; empty if they do not.

    Args:
        fingerprint: fingerprint of the training slices.
        slices: (H, W) each, in HU.

    Raises:
        ValueError: there are no slices.
    """
    found = measure_fingerprint(slices)
    sentences = (
        _noise_departure(fingerprint, found),
        _kernel_departure(fingerprint, found),
        _body_departure(fingerprint, found),
    )
    return [sentence for sentence in sentences if sentence]


def series_warnings(sample: Series, fingerprint: Fingerprint | None, *, strength_is_given: bool) -> list[str]:
    """Return what to warn of before a series is denoised, one sentence with figures each.

    Training noise of a narrow range is that of one kernel and dose. A series within this range is what the model was
    trained to denoise, even if the noise of a routine dose is usually as high.

    Args:
        sample: slices of the series.
        fingerprint: fingerprint of the training slices; None if unknown.
        strength_is_given: whether the series will be denoised at a given strength above 0, so that a series with the
            noise of a routine dose would be over-smoothed.
    """
    found = [] if fingerprint is None else departures(fingerprint, sample.hu)
    if strength_is_given:
        level = dose_level(sample.info, sample.hu)
        if level.is_routine and not (fingerprint and _is_usual(fingerprint, level.noise_hu)):
            found.append(level.warning())
    return found


def _is_usual(trained: Fingerprint, noise_hu: float) -> bool:
    low, _, high = trained.noise_hu
    return high <= _NARROW * low and low / _MARGIN <= noise_hu <= high * _MARGIN


def _noise_departure(trained: Fingerprint, found: Fingerprint) -> str:
    low, _, high = trained.noise_hu
    noise = found.noise_hu[1]
    trained_on = f"the model was trained on {low:.3g} to {high:.3g} HU"
    if math.isnan(noise) and not math.isnan(low):
        return f"no uniform soft tissue to measure noise in; {trained_on} of noise"
    if noise < low / _NOISE_FACTOR:
        return f"noise of {noise:.3g} HU in soft tissue; {trained_on}, so there is little noise to remove"
    if noise > high * _NOISE_FACTOR:
        return f"noise of {noise:.3g} HU in soft tissue; {trained_on}, so noise may remain or details may be lost"
    return ""


def _kernel_departure(trained: Fingerprint, found: Fingerprint) -> str:
    low, _, high = trained.correlation
    grain = found.correlation[1]
    if low - _CORRELATION_STEP <= grain <= high + _CORRELATION_STEP or math.isnan(grain) or math.isnan(low):
        return ""
    kind = "sharper" if grain < low else "softer"
    return (
        f"noise correlation of {grain:.2f} between neighbouring pixels; the model was trained on {low:.2f} to "
        f"{high:.2f}, so this is probably a {kind} kernel, another pixel size or other processing"
    )


def _body_departure(trained: Fingerprint, found: Fingerprint) -> str:
    tissue, expected = (np.array(one.histogram[_TISSUE:]) for one in (found, trained))
    share, usual = float(tissue.sum()), float(expected.sum())
    if share * _TISSUE_FACTOR < usual:
        return f"{share:.1%} of the images is tissue; the model was trained on {usual:.1%}, so this is nearly all air"
    difference = tissue / share - expected / usual if usual else tissue
    moved = float(np.abs(difference).sum()) / 2
    if moved <= _MOVED_SHARE:
        return ""
    most = int(np.argmax(difference))
    return (
        f"{moved:.0%} of the tissue has different HU from the training data, mostly {_between(most + _TISSUE)}, "
        "so this is probably another body region, another unit or not CT"
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
    """Return noise and noise correlation in the most uniform 30 % of the windows that contain only soft tissue."""
    windows = tissue_windows(hu)
    deviations = window_deviations(hu, windows)
    if len(deviations) < MIN_WINDOWS:
        return math.nan, math.nan
    noise = float(np.percentile(deviations, PERCENTILE))
    image, border = np.asarray(hu, dtype=np.float64), NOISE_WINDOW // 2
    steps = (
        means_in_windows(np.diff(image, axis=0) ** 2, rows=NOISE_WINDOW - 1)
        + means_in_windows(np.diff(image, axis=1) ** 2, columns=NOISE_WINDOW - 1)
    ) / 2
    even = deviations <= noise
    spread = float(np.mean(deviations[even] ** 2))
    step = float(np.mean(steps[windows[border:-border, border:-border]][even]))
    return noise, 1 - step / (2 * spread) if spread > _MIN_VARIANCE else math.nan
