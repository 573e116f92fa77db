"""Figures of an invented evaluation of plausible size, for tests of verdicts and of the report."""

from collections.abc import Mapping

import numpy as np

from ctcycle.evaluation.findings import Bench, Curve, Finding, Measure, Picture
from ctcycle.evaluation.page.content import (
    MethodInfo,
    Panel,
    PatientDifferences,
    ReportContent,
    TrainingCurves,
)

GOOD: Mapping[tuple[Bench, str], float] = {
    ("pairs", "noise_removed"): 0.54,
    ("pairs", "error_over_floor"): 1.02,
    ("pairs", "error_over_floor_fine"): 1.05,
    ("pairs", "texture_distance"): 0.06,
    ("pairs", "fine_power_ratio"): 1.1,
    ("pairs", "mean_frequency"): 0.255,
    ("pairs", "bias_soft_beyond_input_hu"): 0.3,
    ("pairs", "bias_lung_beyond_input_hu"): -0.8,
    ("pairs", "slope"): 1.001,
    ("pairs", "between_slices"): 0.8,
    ("pairs", "between_slices_full"): 0.8,
    ("pairs", "disagreeing_patches"): 0.012,
    ("insertion", "contrast_kept_3mm_20hu"): 0.95,
    ("insertion", "contrast_kept_1p5mm_40hu"): 0.92,
    ("physics", "resolution_minus100_f50_ratio"): 0.98,
    ("physics", "false_structures_ratio"): 1.1,
    ("physics", "d_prime_ratio_3mm"): 0.98,
}
"""A denoiser with every mark good."""


def findings(method: str, **changes: float | None) -> list[Finding]:
    """Return the figures of `GOOD` for a method, with changes by measure key; None stands for a missing value."""
    values = {(bench, key): changes.get(key, known) for (bench, key), known in GOOD.items()}
    return [
        Finding(
            method, bench, key, value, count=8, count_of="patients", note="too few windows" if value is None else ""
        )
        for (bench, key), value in values.items()
    ]


def full_dose() -> Finding:
    """Return the mean frequency of full dose."""
    return Finding("full dose", "pairs", "mean_frequency", 0.26)


DOING_NOTHING = {"noise_removed": 0.0, "error_over_floor": 1.9, "contrast_kept_3mm_20hu": 1.0}
BLURRED = {
    "texture_distance": 0.24,
    "mean_frequency": 0.19,
    "contrast_kept_3mm_20hu": 0.51,
    "contrast_kept_1p5mm_40hu": 0.31,
    "resolution_minus100_f50_ratio": 0.7,
    "d_prime_ratio_3mm": 0.64,
}


def content(title: str = "Evaluation on held-out patients", size: int = 160) -> ReportContent:
    """Return the content of a report with every part."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] - size / 2
    body = np.where(np.hypot(x / 0.9, y / 0.7) < size / 2, 50.0, -1000.0)
    images = {
        name: (body + rng.normal(0, noise, body.shape)).astype(np.float32)
        for name, noise in (("low dose", 50), ("network", 18), ("non-local means", 15), ("full dose", 25))
    }
    frequencies = tuple(np.linspace(0.05, 0.5, 20).tolist())
    nps = [
        Curve(name, "pairs", "nps", "", frequencies, tuple(a * f * np.exp(-f / w) for f in frequencies))
        for name, a, w in (("full dose", 9e4, 0.13), ("net", 3e4, 0.12), ("nlm", 6e4, 0.07), ("input", 3e5, 0.14))
    ]
    sizes = [
        Curve(name, "insertion", "insertion_contrast", "20 HU", (1.5, 3.0, 5.0), kept)
        for name, kept in (("net", (0.92, 0.95, 0.99)), ("nlm", (0.31, 0.51, 0.8)), ("input", (1.0, 1.0, 1.0)))
    ]
    differences = {f"P{n:02}": float(value) for n, value in enumerate([0.3, 0.4, 0.2, 0.35, 0.25, 0.3, 3.0])}
    steps = list(range(0, 1000, 20))
    return ReportContent(
        title,
        (
            MethodInfo("input", "Low dose as it is", "input"),
            MethodInfo("nlm", "Non-local means", "filter", "rule"),
            MethodInfo("net", "CycleGAN", "run", "ab" * 32),
        ),
        (Measure("slope", "Slope of HU", "", "one", "Output against reference."),),
        (*findings("input", **DOING_NOTHING), *findings("nlm", **BLURRED), *findings("net"), full_dose()),
        (*nps, *sizes),
        (Picture("net", "pairs", "worst_patches", "The largest disagreement.", {"output": images["network"]}),),
        contrasts=(PatientDifferences("net", "nlm", "PSNR (dB)", differences, (0.1, 1.2), 0.03),),
        panels=(Panel("P03", 7, images, "full dose"),),
        training=(
            TrainingCurves(
                "net",
                {"train/gen_cycle_full": [(s, 1 / (1 + s)) for s in steps]},
                {"PSNR": [(s, 30 + s / 500) for s in steps[::10]]},
                {"learning rate decays from here": 500, "adversarial weight reduced": 800},
            ),
        ),
        notes=("Simulated patients only.",),
        provenance={"ctcycle": "0.1", "commit": "abc123", "data": "fingerprint 12ab"},
    )
