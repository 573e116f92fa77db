"""Evaluation results: a record per slice, means per patient, a row per method and protocol; reading and writing."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.atomic import write_json, write_text
from ctcycle.errors import SeriesError
from ctcycle.evaluation.contrasts import Contrast
from ctcycle.evaluation.findings import Finding, StudyResult
from ctcycle.metrics import PROTOCOL_NAMES, ProtocolName
from ctcycle.metrics.bootstrap import bootstrap_interval, patient_means, too_few_patients
from ctcycle.metrics.protocols import PROTOCOLS

Interval = tuple[float, float] | None
Column = NDArray[np.float64]
MEASURES = ("psnr", "ssim", "rmse_hu", "mae_hu", "bias_hu", "bias_outside_air_hu")
SCHEMA = 2
"""Number of the form of ``results.json``; 1 had only rows, notes and provenance."""

UNITS = {
    "psnr": "dB",
    "ssim": "",
    "rmse_hu": "HU",
    "mae_hu": "HU",
    "bias_hu": "HU",
    "bias_outside_air_hu": "HU",
    "noise_hu": "HU",
    "noise_full_hu": "HU",
    "psnr_gain": "dB",
    "ssim_gain": "",
}
"""Units of the columns of rows; intervals have the unit of their measure. Findings have those of their measures."""

BASELINE = "input"
"""The method that gains are relative to, if it was evaluated."""


@dataclass(frozen=True)
class SliceRecord:
    """Scores of one method on one slice under one protocol: a line of ``slices.csv``; units as in `protocols.Scores`.

    ``noise_hu`` is the soft-tissue noise of the output, ``noise_full_hu`` that of the full-dose slice in the same
    windows; NaN if the slice has too little soft tissue. ``bias_outside_air_hu`` is the mean of output minus full dose,
    not clipped, where full dose is not air; NaN if all is air.
    """

    method: str
    protocol: ProtocolName
    patient: str
    series: str
    slice: int
    psnr: float
    ssim: float
    rmse_hu: float
    mae_hu: float
    bias_hu: float
    noise_hu: float
    noise_full_hu: float
    bias_outside_air_hu: float = math.nan


@dataclass(frozen=True)
class Row:
    """Mean scores of one method under one protocol: a row of ``results.json``.

    Means are over slices. Intervals are 95 % bootstrap intervals over patients, None with too few patients. Gains are
    differences from the means of the method `input`. None is also used for an infinite PSNR, and for noise that cannot
    be measured for lack of soft tissue.
    """

    method: str
    protocol: ProtocolName
    psnr: float | None
    ssim: float
    rmse_hu: float
    mae_hu: float
    bias_hu: float
    noise_hu: float | None
    noise_full_hu: float | None
    slices: int
    patients: int
    psnr_ci95: Interval
    ssim_ci95: Interval
    rmse_hu_ci95: Interval
    psnr_gain: float | None
    ssim_gain: float | None
    psnr_gain_ci95: Interval
    bias_outside_air_hu: float | None = None


@dataclass(frozen=True)
class MethodFacts:
    """What was evaluated: name, title for readers, kind, and the hash of all that determines its outputs."""

    name: str
    title: str
    kind: str
    digest: str


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        records: scores of every slice.
        rows: their means by method and protocol.
        notes: sentences to show with every table.
        contrasts: each method minus the best classical filter.
        methods: what was evaluated, in the order of the table.
        study: what the benches found.
    """

    records: tuple[SliceRecord, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    contrasts: tuple[Contrast, ...] = ()
    methods: tuple[MethodFacts, ...] = ()
    study: StudyResult = field(default_factory=StudyResult)

    def write(self, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Write ``slices.csv``, ``patients.csv`` and ``results.json`` (see ``docs/results.md``).

        Raises:
            OutputError: a file cannot be written.
        """
        write_text(folder / "slices.csv", _csv([asdict(record) for record in self.records], SliceRecord))
        write_text(folder / "patients.csv", _csv(_patient_lines(self.records)))
        content = {
            "schema": SCHEMA,
            "units": UNITS,
            "methods": [asdict(method) for method in self.methods],
            "rows": [asdict(row) for row in self.rows],
            "findings": [asdict(finding) for finding in self.study.findings],
            "contrasts": [asdict(contrast) for contrast in self.contrasts],
            "notes": list(self.notes),
            "provenance": dict(provenance),
        }
        write_json(folder / "results.json", content)


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `Evaluation.write` wrote, without curves and pictures.

    Raises:
        SeriesError: a file cannot be read or was written by another version.
    """
    path = folder / "results.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(Row(**{key: _pair(value) for key, value in row.items()}) for row in found["rows"])
        contrasts = tuple(Contrast(**{key: _pair(value) for key, value in line.items()}) for line in found["contrasts"])
        methods = tuple(MethodFacts(**line) for line in found["methods"])
        study = StudyResult(tuple(Finding(**line) for line in found["findings"]))
        notes = tuple(found["notes"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = type(error).__name__
        raise SeriesError(f"{path}: not results of this version ({reason}); run the evaluation again") from error
    return Evaluation(tuple(read_slice_records(folder / "slices.csv")), rows, notes, contrasts, methods, study)


def summarise(records: Sequence[SliceRecord], *, seed: int = 0) -> Evaluation:
    """Summarise records by method and protocol, in order of first appearance.

    Args:
        records: scores of every method on the same slices in the same order, as returned by `evaluate_pair` or
            `read_slice_records`.
        seed: seed of the bootstrap; all rows use the same resamples.

    Raises:
        SeriesError: there are no records, or the methods were not evaluated on the same slices.
    """
    if not records:
        raise SeriesError("evaluation: no slice pairs; the split needs patients with both doses")
    groups: dict[tuple[str, ProtocolName], list[SliceRecord]] = {}
    for record in records:
        groups.setdefault((record.method, record.protocol), []).append(record)
    first, *others = groups.items()
    for (method, protocol), group in others:
        if _slice_keys(group) != _slice_keys(first[1]):
            raise SeriesError(
                f"evaluation: method {method} under {protocol} was not evaluated on the same slices as method "
                f"{first[0][0]}; evaluate all methods on the same slices"
            )
    rows = tuple(_row(group, groups.get((BASELINE, protocol), []), seed) for (_, protocol), group in groups.items())
    return Evaluation(tuple(records), rows, tuple(_notes(records, rows)))


def read_slice_records(path: Path) -> list[SliceRecord]:
    """Read the records of a ``slices.csv``, equal to those written.

    Raises:
        SeriesError: the file cannot be read or is not a table of slice records.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [_record(line) for line in csv.DictReader(stream)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SeriesError(f"{path}: cannot read it as a table of slices ({error}); run the evaluation again") from error


def _row(group: Sequence[SliceRecord], baseline: Sequence[SliceRecord], seed: int) -> Row:
    patients = [record.patient for record in group]
    psnr, ssim, rmse = (_column(group, name) for name in ("psnr", "ssim", "rmse_hu"))
    psnr_gain, ssim_gain = (_gain(group, baseline, name) for name in ("psnr", "ssim"))

    def interval(values: Column) -> Interval:
        return bootstrap_interval(patient_means(values, patients), np.random.default_rng(seed))

    return Row(
        method=group[0].method,
        protocol=group[0].protocol,
        psnr=_mean(psnr),
        ssim=float(np.mean(ssim)),
        rmse_hu=float(np.mean(rmse)),
        mae_hu=float(np.mean(_column(group, "mae_hu"))),
        bias_hu=float(np.mean(_column(group, "bias_hu"))),
        noise_hu=_mean_where_known(_column(group, "noise_hu")),
        noise_full_hu=_mean_where_known(_column(group, "noise_full_hu")),
        slices=len(group),
        patients=len(set(patients)),
        psnr_ci95=interval(psnr),
        ssim_ci95=interval(ssim),
        rmse_hu_ci95=interval(rmse),
        psnr_gain=_mean(psnr_gain),
        ssim_gain=_mean(ssim_gain),
        psnr_gain_ci95=interval(psnr_gain),
        bias_outside_air_hu=_mean_where_known(_column(group, "bias_outside_air_hu")),
    )


def _column(records: Sequence[SliceRecord], name: str) -> Column:
    return np.array([getattr(record, name) for record in records], dtype=np.float64)


def _gain(group: Sequence[SliceRecord], baseline: Sequence[SliceRecord], name: str) -> Column:
    """Return the differences from the baseline per slice; NaN without a baseline, or if both are infinite."""
    if not baseline:
        return np.full(len(group), np.nan)
    with np.errstate(invalid="ignore"):
        return _column(group, name) - _column(baseline, name)


def _mean(values: Column) -> float | None:
    """Return the mean, or None if it is not finite and so cannot be stored in JSON."""
    with np.errstate(invalid="ignore"):
        mean = float(np.mean(values))
    return mean if math.isfinite(mean) else None


def _mean_where_known(values: Column) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.mean(known)) if known.size else None


def _slice_keys(records: Sequence[SliceRecord]) -> list[tuple[str, str, int]]:
    return [(record.patient, record.series, record.slice) for record in records]


def _notes(records: Sequence[SliceRecord], rows: Sequence[Row]) -> Iterator[str]:
    few = too_few_patients(rows[0].patients)
    if few is not None:
        yield few
    for name in dict.fromkeys(row.protocol for row in rows):
        yield f"{name}: {PROTOCOLS[name].description}"
    equal = Counter((record.method, record.protocol) for record in records if math.isinf(record.psnr))
    for (method, protocol), count in equal.items():
        yield f"{method}, {protocol}: slices equal to full dose: {count}; their PSNR is infinite, so it has no mean"
    if rows[0].noise_full_hu is not None:
        yield f"soft-tissue noise of full dose: {rows[0].noise_full_hu:.1f} HU"


def _record(line: Mapping[str, str]) -> SliceRecord:
    protocol = PROTOCOL_NAMES[PROTOCOL_NAMES.index(line["protocol"])]
    numbers = {name: float(line[name]) for name in (*MEASURES, "noise_hu", "noise_full_hu")}
    return SliceRecord(line["method"], protocol, line["patient"], line["series"], int(line["slice"]), **numbers)


def _patient_lines(records: Sequence[SliceRecord]) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[SliceRecord]] = {}
    for record in records:
        groups.setdefault((record.method, record.protocol, record.patient), []).append(record)
    for (method, protocol, patient), group in groups.items():
        means = {name: float(np.mean(_column(group, name))) for name in MEASURES[:-1]}
        noise = _mean_where_known(_column(group, "noise_hu"))
        yield {
            "method": method,
            "protocol": protocol,
            "patient": patient,
            "slices": len(group),
            **means,
            "noise_hu": noise,
            "bias_outside_air_hu": _mean_where_known(_column(group, "bias_outside_air_hu")),
        }


def _pair(value: Any) -> Any:
    """Return an interval as a tuple again, which JSON has as a list."""
    return tuple(value) if isinstance(value, list) else value


def _csv(lines: Iterable[Mapping[str, Any]], kind: type | None = None) -> str:
    """Return a table; its columns are the fields of a dataclass ``kind``, or the keys of the first line."""
    text = io.StringIO()
    table = list(lines)
    columns = [column.name for column in fields(kind)] if kind else list(table[0]) if table else []
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
