"""The series as a table: for the terminal, for a CSV file, and for the page, where no name of a patient is shown."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from ctcycle.data.settings import Dose
from ctcycle.inspection.facts import Facts, SeriesFacts

HEADER = (
    *("patient", "dose", "by noise", "kernel", "mm", "pixel mm", "size", "series", "slices"),
    *("noise HU", "routine HU"),
)
"""Columns of the table of groups: series of one patient, dose and kind are one line."""

_TEXT_COLUMNS = 4
_CSV = (
    *("series", "patient", "patient_number", "dose", "dose_by_noise", "kernel", "thickness_mm", "pixel_mm"),
    *("slice_distance_mm", "slices", "rows", "columns", "format", "unit", "low_hu", "high_hu", "padding_share"),
    *("noise_hu", "routine_noise_hu", "display_window", "slices_read"),
)


def group_rows(facts: Facts, measured: Mapping[str, Dose], splits: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the lines of the table, with the columns of `HEADER` and the split; patients are numbers (P1, P2, ...)."""
    groups: dict[tuple[str, ...], list[SeriesFacts]] = defaultdict(list)
    for one in facts.series:
        groups[_key(one, measured, splits)].append(one)
    lines = []
    for key, found in sorted(groups.items(), key=lambda item: (item[1][0].patient, item[0])):
        routine = [one.pixels.level.routine_hu for one in found if one.pixels]
        numbers = (str(len(found)), str(sum(one.row.slices for one in found)))
        lines.append((*key[:-1], *numbers, _median([one.noise_hu for one in found]), _median(routine), key[-1]))
    return lines


def _key(one: SeriesFacts, measured: Mapping[str, Dose], splits: Mapping[str, str]) -> tuple[str, ...]:
    row = one.row
    return (
        f"P{one.patient}",
        _dose(row.dose),
        _dose(measured[row.series]),
        row.kernel or "?",
        f"{row.thickness_mm:g}" if row.thickness_mm else "?",
        f"{row.spacing_mm:.2f}" if row.spacing_mm else "?",
        f"{row.rows}x{row.columns}",
        splits.get(row.patient, "-") or "-",
    )


def _dose(dose: str) -> str:
    return {"low_dose": "low", "full_dose": "full"}.get(dose, "?")


def _median(values: Sequence[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    return f"{median(known):.0f}" if known else "?"


def aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of text with aligned columns."""
    cells = [header, *lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    shown = []
    for line in cells:
        parts = [
            cell.ljust(width) if place < _TEXT_COLUMNS else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append("  ".join(parts).rstrip())
    return shown


def series_csv(facts: Facts, measured: Mapping[str, Dose]) -> str:
    """Return every series as CSV; it names patients as the manifest does."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_CSV)
    writer.writerows(_csv_row(one, measured[one.row.series]) for one in facts.series)
    return stream.getvalue()


def _csv_row(one: SeriesFacts, measured: str) -> list[str]:
    row, pixels = one.row, one.pixels
    known = [row.series, row.patient, f"P{one.patient}", row.dose, measured, row.kernel]
    sizes = [_number(value) for value in (row.thickness_mm, row.spacing_mm, one.info.spacing_mm[0])]
    counts = [str(value) for value in (row.slices, row.rows, row.columns)]
    if pixels is None:
        return [*known, *sizes, *counts, row.format, *[""] * 6, one.display, "0"]
    values = (pixels.low_hu, pixels.high_hu, pixels.padding, one.noise_hu, pixels.level.routine_hu)
    return [
        *(*known, *sizes, *counts, row.format, pixels.unit),
        *(f"{value:.4g}" if math.isfinite(value) else "" for value in values),
        *(one.display, str(len(pixels.digests))),
    ]


def _number(value: float) -> str:
    return f"{value:.4g}" if value else ""
