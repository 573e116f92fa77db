"""Noise of the output: how much is left, and how its texture differs from that of full dose (M3)."""

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Curve, Finding, Measure, StudyResult
from ctcycle.evaluation.physics.reporting import Reporter
from ctcycle.metrics.jackknife import Array, Numbers, jackknife
from ctcycle.metrics.spectral.nps import NoisePower, noise_power, texture_distance

LEAST_NOISE_HU = 0.01
"""Below this, an output has no noise whose texture could be measured."""

MEASURES: tuple[Measure, ...] = (
    Measure("noise_hu", "Noise", "HU", "lower", "Standard deviation of detrended regions of the disc (AAPM TG-233)."),
    Measure(
        "texture_distance",
        "Texture distance to full dose",
        "",
        "zero",
        "Half the sum of |p - q|, p and q the normalised f NPS of output and full dose: 0 same texture, 1 no common "
        "frequency.",
    ),
    Measure(
        "mean_frequency",
        "Mean frequency of the noise",
        "cycles/px",
        "higher",
        "Mean of the frequency, weighted by f NPS; lower than that of full dose means coarser noise.",
    ),
    Measure(
        "anisotropy",
        "Anisotropy of the noise",
        "",
        "one",
        "Largest over smallest mean noise power of 8 sectors of direction.",
    ),
)

_KEYS = tuple(measure.key for measure in MEASURES)
Regions = NDArray[np.float32]


def texture_study(method: str, regions_hu: Regions, full_regions_hu: Regions, pixel_mm: float) -> StudyResult:
    """Compare the noise power of an output with that of full dose.

    Args:
        method: name of the method.
        regions_hu: (R, K, N, N), K regions of each realisation of the output.
        full_regions_hu: the same of full dose.
        pixel_mm: side of a pixel.
    """
    report = Reporter(method, len(regions_hu), "images")
    if power_of(regions_hu, pixel_mm).noise_hu < LEAST_NOISE_HU:
        return StudyResult((report.found("noise_hu", 0.0), *report.missing(_KEYS[1:], "no noise is left")))

    def statistic(numbers: Numbers) -> Array:
        power = power_of(regions_hu[numbers], pixel_mm)
        distance = texture_distance(power, power_of(full_regions_hu[numbers], pixel_mm))
        return np.array([power.noise_hu, distance, power.mean_per_px, power.anisotropy])

    value, low, high = jackknife(statistic, len(regions_hu))
    low = np.maximum(low, [0.0, 0.0, 0.0, 1.0])
    findings: tuple[Finding, ...] = tuple(
        report.found(key, *ends) for key, *ends in zip(_KEYS, value, zip(low, high, strict=True), strict=True)
    )
    return StudyResult(findings, (nps_curve(method, power_of(regions_hu, pixel_mm)),))


def power_of(regions_hu: Regions, pixel_mm: float) -> NoisePower:
    """Return the noise power of regions (R, K, N, N)."""
    return noise_power(regions_hu.reshape(-1, *regions_hu.shape[2:]), pixel_mm)


def nps_curve(method: str, power: NoisePower) -> Curve:
    """Return the noise power in HU² mm² by frequency in cycles/mm."""
    return Curve(
        method, "physics", "nps", "", tuple(power.frequency_per_mm.tolist()), tuple(power.radial_hu2_mm2.tolist())
    )
