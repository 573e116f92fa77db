"""Printed summary of a scan: a table of the series, totals, advice before training, skipped files."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from ctcycle.ct.series import Skipped
from ctcycle.data.domains import domains
from ctcycle.data.manifest import Manifest, ManifestRow
from ctcycle.data.pairs import paired_patients
from ctcycle.data.scan import ScanReport
from ctcycle.data.settings import DOSES, Split
from ctcycle.errors import ManifestError

_NO_PAIRS: dict[Split, str] = {
    "val": "the last checkpoint will be used as best.pt",
    "test": "evaluation is not possible",
}


def summary(report: ScanReport, most: int = 40) -> str:
    """Return the printed summary of a scan: a table, totals, advice and skipped files.

    Args:
        report: the result of a scan.
        most: maximum number of table lines.
    """
    manifest = report.manifest
    lines = _table(manifest.rows, report.noise_hu)
    lines = [*lines[: most + 1], f"... and {len(lines) - 1 - most} more lines"] if len(lines) > most + 1 else lines
    return (
        "\n".join([*lines, "", *_totals(manifest), *report.notes, *_advice(manifest), *_skipped_lines(report.skipped)])
        + "\n"
    )


def _table(rows: Sequence[ManifestRow], noise_hu: Mapping[str, float]) -> list[str]:
    groups: dict[tuple[str, ...], list[ManifestRow]] = defaultdict(list)
    for row in rows:
        thickness = f"{row.thickness_mm:g}" if row.thickness_mm else "?"
        groups[row.patient, row.dose or "?", row.kernel or "?", thickness, row.split or "-"].append(row)
    cells: list[tuple[str, ...]] = [("patient", "dose", "kernel", "mm", "split", "series", "slices", "noise HU")]
    for key, found in sorted(groups.items()):
        known = [level for row in found if math.isfinite(level := noise_hu.get(row.series, math.nan))]
        noise = f"{median(known):.0f}" if known else "?"
        cells.append((*key, str(len(found)), str(sum(row.slices for row in found)), noise))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells]
    numbers = [[cell.rjust(width) for cell, width in zip(line[5:], widths[5:], strict=True)] for line in cells]
    return ["  ".join([*left[:5], *right]) for left, right in zip(aligned, numbers, strict=True)]


def _totals(manifest: Manifest) -> Iterator[str]:
    for split in ("train", "val", "test", ""):
        part = manifest.select(split=split)
        slices = {dose: sum(row.slices for row in part.select(dose=dose)) for dose in ("low_dose", "full_dose", "")}
        if part:
            unknown = f", {slices['']} of unknown dose" if slices[""] else ""
            yield (
                f"{split or 'no split'}: {_count(len(part.patients), 'patient')} "
                f"({len(paired_patients(part))} with both doses), {len(part)} series, "
                f"{slices['low_dose']} low-dose and {slices['full_dose']} full-dose slices{unknown}"
            )


def _advice(manifest: Manifest) -> Iterator[str]:
    """Yield advice on what to check before training."""
    unknown = manifest.select(dose="")
    if unknown:
        yield (
            f"unknown dose: {len(unknown)} of {len(manifest)} series; fill in the column 'dose' of "
            f"{manifest.path.name}, or set 'dose' for the source"
        )
    yield from _training_advice(manifest)
    available = len(paired_patients(manifest))
    for split, consequence in _NO_PAIRS.items():
        if not paired_patients(manifest.select(split=split)):
            yield (
                f"{split} has no patient with matching series of both doses ({available} found in total), so "
                f"{consequence}; assign one in split.{split} or in the column 'split' of {manifest.path.name}"
            )


def _training_advice(manifest: Manifest) -> Iterator[str]:
    rows = {dose: manifest.select(dose, "train").rows for dose in DOSES}
    missing = [dose for dose in DOSES if not rows[dose]]
    if missing:
        yield (
            f"train has no {' and no '.join(missing)} series, so training is not possible; name such patients in "
            f"split.train, set the column 'split' of {manifest.path.name} to train, or add a source with such series"
        )
        return
    try:
        domains(rows["low_dose"], rows["full_dose"], "disjoint_patients", 0, lambda _row: ())
    except ManifestError as error:
        yield f"training patients cannot be divided between the domains: {error}"
    low, full = (", ".join(sorted({row.kernel or "unknown" for row in rows[dose]})) for dose in DOSES)
    if low != full:
        yield (
            f"training kernels differ between the doses (low: {low}; full: {full}), so an unpaired network would "
            "also learn the kernel; set data.kernel to one of them"
        )


def _skipped_lines(skipped: Sequence[Skipped]) -> Iterator[str]:
    reasons = Counter(item.reason for item in skipped).most_common()
    paths = {item.reason: item.path for item in skipped}
    yield from ["skipped:"] if reasons else []
    for reason, count in reasons[:10]:
        yield f"  {count} x {reason}" if count > 1 else f"  {paths[reason]}: {reason}"
    if len(reasons) > 10:
        yield f"  ... and {_count(len(reasons) - 10, 'other reason')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
