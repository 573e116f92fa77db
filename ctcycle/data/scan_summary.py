"""What a scan found, for people: a table, the sums, what to look at before training, what was left out."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ctcycle.ct.series import Skipped
from ctcycle.data.domains import domains
from ctcycle.data.manifest import Manifest, ManifestRow
from ctcycle.data.pairs import paired_patients
from ctcycle.data.scan import ScanReport
from ctcycle.data.settings import DOSES, Split
from ctcycle.errors import ManifestError

_NO_PAIRS: dict[Split, str] = {"val": "the last weights are taken for the best", "test": "nothing can be evaluated"}


def summary(report: ScanReport, most: int = 40) -> str:
    """What a scan found, for people: a table, the sums, what to look at, and what was left out.

    Args:
        report: the result of a scan.
        most: so many lines of the table are shown.
    """
    manifest = report.manifest
    lines = _table(manifest.rows)
    lines = [*lines[: most + 1], f"... and {len(lines) - 1 - most} more lines"] if len(lines) > most + 1 else lines
    return (
        "\n".join([*lines, "", *_totals(manifest), *report.notes, *_advice(manifest), *_left_out(report.skipped)])
        + "\n"
    )


def _table(rows: Sequence[ManifestRow]) -> list[str]:
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in rows:
        thickness = f"{row.thickness_mm:g}" if row.thickness_mm else "?"
        groups[row.patient, row.dose or "?", row.kernel or "?", thickness, row.split or "-"].append(row.slices)
    cells: list[tuple[str, ...]] = [("patient", "dose", "kernel", "mm", "split", "series", "slices")]
    cells += [(*key, str(len(slices)), str(sum(slices))) for key, slices in sorted(groups.items())]
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
    """What a user should look at before training."""
    unknown = manifest.select(dose="")
    if unknown:
        yield (
            f"dose unknown: {len(unknown)} of {len(manifest)} series; fill the column 'dose' of {manifest.path.name}, "
            "or give the source a 'dose'"
        )
    yield from _training_advice(manifest)
    there = f"there {'is' if len(paired_patients(manifest)) == 1 else 'are'} {len(paired_patients(manifest))}"
    for split, lost in _NO_PAIRS.items():
        if not paired_patients(manifest.select(split=split)):
            yield (
                f"{split} has no patient with matching series of both doses: {lost}; name one in split.{split} "
                f"or in the column 'split' of {manifest.path.name}; {there} in all"
            )


def _training_advice(manifest: Manifest) -> Iterator[str]:
    rows = {dose: manifest.select(dose, "train").rows for dose in DOSES}
    missing = [dose for dose in DOSES if not rows[dose]]
    if missing:
        yield (
            f"train has no {' and no '.join(missing)} series: nothing can be trained; name such patients in "
            f"split.train, set the column 'split' of {manifest.path.name} to train, or add a source that has them"
        )
        return
    try:
        domains(rows["low_dose"], rows["full_dose"], "disjoint_patients", 0, lambda _row: ())
    except ManifestError as error:
        yield f"train cannot be divided by patient: {error}"
    low, full = (", ".join(sorted({row.kernel or "unknown" for row in rows[dose]})) for dose in DOSES)
    if low != full:
        yield (
            f"kernels differ between the doses for training (low: {low}; full: {full}): an unpaired network would "
            "learn the kernel as well; choose one in data.kernel"
        )


def _left_out(skipped: Sequence[Skipped]) -> Iterator[str]:
    reasons = Counter(item.reason for item in skipped).most_common()
    places = {item.reason: item.path for item in skipped}
    yield from ["left out:"] if reasons else []
    for reason, count in reasons[:10]:
        yield f"  {count} x {reason}" if count > 1 else f"  {places[reason]}: {reason}"
    if len(reasons) > 10:
        yield f"  ... and {_count(len(reasons) - 10, 'other reason')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
