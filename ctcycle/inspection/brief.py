"""The data doctor in short, before training: what will be trained on, and what speaks against it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from ctcycle.ct.measures import soft_tissue_noise
from ctcycle.ct.series_io import sample_slices
from ctcycle.data.manifest import Manifest, ManifestRow, read_manifest
from ctcycle.data.settings import DOSES, Dose
from ctcycle.data.store import Locator
from ctcycle.errors import CtcycleError
from ctcycle.inspection.pixels import spread

_SERIES, _SLICES = 3, 2
"""Series of each dose whose noise is measured, and slices of each."""


def brief(manifest: Path, kernel: str | None, *, mu_water: float, mu_air: float) -> list[str]:
    """Return a few lines about the training series of a manifest; none if it cannot be read, which training reports.

    Args:
        manifest: the manifest.
        kernel: kernel to train on; None for all.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        mu_air: attenuation of air in 1/mm, likewise.
    """
    try:
        rows = read_manifest(manifest).select(split="train", kernel=kernel)
        locator = Locator(mu_water, mu_air)
        noise = {dose: _noise(rows.select(dose=dose), locator) for dose in DOSES}
    except (CtcycleError, OSError):
        return []
    parts = [_part(rows.select(dose=dose), dose, noise[dose]) for dose in DOSES]
    return [f"training data: {'; '.join(part for part in parts if part)}", *_warnings(rows, noise)]


def _noise(rows: Manifest, locator: Locator) -> float:
    """Return the median noise of some slices in HU; NaN if it cannot be measured.

    Raises:
        CtcycleError: a series is missing or damaged.
    """
    chosen = [rows.rows[place] for place in spread(len(rows), _SERIES)] if rows.rows else []
    samples = [sample_slices(locator.locate(row, rows.root), _SLICES) for row in chosen]
    known = [noise for one in samples for hu in one.hu if math.isfinite(noise := soft_tissue_noise(hu))]
    return median(known) if known else math.nan


def _part(rows: Manifest, dose: str, noise_hu: float) -> str:
    if not rows.rows:
        return ""
    level = f", noise {noise_hu:.0f} HU" if math.isfinite(noise_hu) else ""
    slices = sum(row.slices for row in rows)
    patients = len(rows.patients)
    kernels = ", ".join(sorted({row.kernel or "unknown kernel" for row in rows})[:4])
    who = f"{patients} patient{'s' if patients > 1 else ''}"
    return f"{slices} {dose.replace('_', '-')} slices of {who} ({kernels}{level})"


def _warnings(rows: Manifest, noise: Mapping[Dose, float]) -> Iterator[str]:
    low, full = ([row for row in rows if row.dose == dose] for dose in DOSES)
    if noise["low_dose"] < noise["full_dose"]:
        yield (
            "warning: low dose has less noise than full dose; check the column 'dose' and the kernels, or run "
            "ctcycle inspect on the folders"
        )
    for what, values in (("kernels", _kernels), ("slice thicknesses", _thicknesses)):
        if low and full and not values(low) & values(full):
            yield f"warning: both doses have no {what} in common, so a network may learn these instead of the dose"


def _kernels(rows: Sequence[ManifestRow]) -> set[str]:
    return {row.kernel for row in rows}


def _thicknesses(rows: Sequence[ManifestRow]) -> set[float]:
    return {round(row.thickness_mm, 1) for row in rows}
