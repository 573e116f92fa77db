"""Resolution by contrast: the task transfer function at the edges of rods (M4)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Curve, Finding, Measure, StudyResult
from ctcycle.evaluation.physics.reporting import Reporter
from ctcycle.evaluation.physics.scenes import ROD_CONTRASTS_HU
from ctcycle.metrics.jackknife import Array, Numbers, jackknife
from ctcycle.metrics.spectral.ttf import MIN_CONTRAST_TO_NOISE, MIN_RADIUS_PX, TaskTransfer, task_transfer

Rods = Mapping[float, NDArray[np.float32]]
"""By contrast: (R, N, N), the mean over the rods of that contrast in each realisation, HU."""

CONTRASTS_HU = tuple(sorted(ROD_CONTRASTS_HU))


def contrast_key(contrast_hu: float) -> str:
    """Return ``minus40`` for -40 HU."""
    return f"{'minus' if contrast_hu < 0 else 'plus'}{abs(contrast_hu):g}"


def _measures(contrast_hu: float) -> tuple[Measure, Measure]:
    key, where = f"resolution_{contrast_key(contrast_hu)}_f50", f"at {contrast_hu:+g} HU"
    return (
        Measure(
            key,
            f"Resolution f50 {where}",
            "cycles/mm",
            "higher",
            "Frequency at which the task transfer function of a rod falls to a half (AAPM TG-233).",
        ),
        Measure(
            f"{key}_ratio",
            f"Resolution kept {where}",
            "",
            "one",
            "f50 over that of the same rods in the reconstruction without noise and without denoising.",
        ),
    )


MEASURES: tuple[Measure, ...] = tuple(measure for contrast_hu in CONTRASTS_HU for measure in _measures(contrast_hu))


def transfer(rod_hu: NDArray[np.floating], pixel_mm: float) -> TaskTransfer:
    """Return the transfer function of a mean rod (N, N), centred at pixel N // 2."""
    middle = float(len(rod_hu) // 2)
    return task_transfer(rod_hu, pixel_mm, float(MIN_RADIUS_PX), (middle, middle))


def is_clear(rods_hu: Rods, pixel_mm: float) -> bool:
    """Return whether the mean rod of each contrast has enough contrast to noise; rods that are gone never have."""
    try:
        return all(
            transfer(rod.mean(0), pixel_mm).contrast_to_noise >= MIN_CONTRAST_TO_NOISE for rod in rods_hu.values()
        )
    except ValueError:
        return False


def faintest_clear(rods_hu: Rods, pixel_mm: float) -> float | None:
    """Return the lowest contrast, dark before bright, whose mean rod is clear of noise; None if there is none."""
    for contrast in sorted(rods_hu, key=lambda value: (abs(value), value)):
        if is_clear({contrast: rods_hu[contrast]}, pixel_mm):
            return contrast
    return None


def resolution_study(method: str, rods_hu: Rods, reference_hu: Rods, pixel_mm: float) -> StudyResult:
    """Measure f50 at each contrast, and its ratio to the reference.

    Args:
        method: name of the method.
        rods_hu: of the output.
        reference_hu: (1, N, N) by contrast, of the reconstruction without noise.
        pixel_mm: side of a pixel.
    """
    findings: list[Finding] = []
    curves: list[Curve] = []
    for contrast in CONTRASTS_HU:
        report = Reporter(method, len(rods_hu[contrast]), "images")
        keys = tuple(measure.key for measure in _measures(contrast))
        reference = transfer(reference_hu[contrast][0], pixel_mm)
        try:
            whole = transfer(rods_hu[contrast].mean(0), pixel_mm)
            values = _intervals(rods_hu[contrast], pixel_mm)
        except ValueError:
            findings += report.missing(keys, f"the rod of {contrast:+g} HU is not seen")
            continue
        note = _note(whole.contrast_to_noise)
        for key, scale in zip(keys, (1.0, reference.f50_per_mm), strict=True):
            value, low, high = (part / scale for part in values)
            findings.append(report.found(key, value, (low, high), note))
        curves.append(ttf_curve(method, contrast, whole))
    return StudyResult(tuple(findings), tuple(curves))


def ttf_curve(method: str, contrast_hu: float, found: TaskTransfer) -> Curve:
    """Return the transfer function up to the Nyquist frequency, by frequency in cycles/mm."""
    shown = found.frequency_per_mm <= found.frequency_per_mm[-1] / 2
    label = f"{contrast_hu:+g} HU"
    frequency, values = (part[shown].tolist() for part in (found.frequency_per_mm, found.transfer))
    return Curve(method, "physics", "ttf", label, tuple(frequency), tuple(values))


def _intervals(rods_hu: NDArray[np.float32], pixel_mm: float) -> tuple[float, float, float]:
    def statistic(numbers: Numbers) -> Array:
        return np.array([transfer(rods_hu[numbers].mean(0), pixel_mm).f50_per_mm])

    value, low, high = jackknife(statistic, len(rods_hu))
    return float(value[0]), max(float(low[0]), 0.0), float(high[0])


def _note(contrast_to_noise: float) -> str:
    if contrast_to_noise >= MIN_CONTRAST_TO_NOISE:
        return ""
    return (
        f"contrast over noise is {contrast_to_noise:.1f}, below {MIN_CONTRAST_TO_NOISE:g}: uncertain; "
        "set more realisations"
    )
