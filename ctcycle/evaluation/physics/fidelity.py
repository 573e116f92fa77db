"""False structures (M7) and the split of the error into bias and noise (M8), on the disc without inserts."""

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Finding, Measure
from ctcycle.evaluation.physics.reporting import Reporter
from ctcycle.metrics.jackknife import Array, Numbers, jackknife
from ctcycle.metrics.lesions.false_structures import RADII_MM, blob_peaks, count_structures, detection_map
from ctcycle.metrics.tissue_bias import split_bias_and_noise

MEASURES: tuple[Measure, ...] = (
    Measure(
        "false_structures_ratio",
        "False structures",
        "",
        "lower",
        "Blobs of 2, 3 and 5 mm radius in slices without lesions, beyond what full dose shows once a slice, over those "
        "of full dose.",
    ),
    Measure("bias_hu", "Bias", "HU", "zero", "Mean of output minus the reconstruction without noise, in the disc."),
    Measure(
        "bias_rms_hu",
        "Bias, root mean square",
        "HU",
        "lower",
        "Root mean square over pixels of the mean error over realisations, without its noise.",
    ),
    Measure(
        "noise_rms_hu",
        "Noise, root mean square",
        "HU",
        "lower",
        "Root mean square over pixels of the standard deviation between realisations.",
    ),
)

Peaks = list[Array]
_DRAWS = 500


def slice_peaks(residual_hu: NDArray[np.floating], pixel_mm: float, mask: NDArray[np.bool_]) -> Peaks:
    """Return the blobs of each radius in one residual (H, W), in local standard deviations."""
    return [blob_peaks(detection_map(residual_hu, radius, pixel_mm), radius, pixel_mm, mask) for radius in RADII_MM]


def false_structure_finding(method: str, peaks: list[Peaks], null_peaks: list[Peaks], seed: int) -> Finding:
    """Compare how many blobs an output and full dose show, all radii together.

    The interval is a bootstrap over slices, which output and full dose share.

    Args:
        method: name of the method.
        peaks: of each slice of the output.
        null_peaks: of each slice of full dose.
        seed: of the bootstrap.
    """
    count = len(peaks)
    rng = np.random.default_rng(seed)
    draws = [_ratio(peaks, null_peaks, rng.integers(count, size=count)) for _ in range(_DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975]).tolist()
    ratio = _ratio(peaks, null_peaks, np.arange(count))
    return Reporter(method, count, "slices").found("false_structures_ratio", ratio, (low, high))


def bias_findings(method: str, outputs_hu: NDArray[np.float32], truth_hu: NDArray[np.float32]) -> tuple[Finding, ...]:
    """Split the error of outputs (R, P) at the pixels of the disc, against the reconstruction without noise (P)."""
    report = Reporter(method, len(outputs_hu), "images")

    def mean_error(numbers: Numbers) -> Array:
        return np.array([by_image[numbers].mean()])

    by_image = (outputs_hu - truth_hu).mean(axis=1, dtype=np.float64)
    value, low, high = (float(part[0]) for part in jackknife(mean_error, len(outputs_hu), len(outputs_hu)))
    split = split_bias_and_noise(outputs_hu[:, None], truth_hu[None])
    return (
        report.found("bias_hu", value, (low, high)),
        report.found("bias_rms_hu", float(np.sqrt(max(split.bias_hu2, 0.0)))),
        report.found("noise_rms_hu", float(np.sqrt(split.noise_hu2))),
    )


def _ratio(peaks: list[Peaks], null_peaks: list[Peaks], numbers: Numbers) -> float:
    found = [
        count_structures(radius, [peaks[n][k] for n in numbers], [null_peaks[n][k] for n in numbers])
        for k, radius in enumerate(RADII_MM)
    ]
    return sum(part.per_slice for part in found) / sum(part.null_per_slice for part in found)
