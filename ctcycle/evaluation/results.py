"""Evaluation results: a record per slice, means per patient, a row per method and protocol; reading and writing."""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.atomic import write_json, write_text
from ctcycle.errors import SeriesError
from ctcycle.metrics import PROTOCOL_NAMES, ProtocolName
from ctcycle.metrics.bootstrap import bootstrap_interval, patient_means, too_few_patients
from ctcycle.metrics.protocols import PROTOCOLS

Interval = tuple[float, float] | None
Column = NDArray[np.float64]
MEASURES = ("psnr", "ssim", "rmse_hu", "mae_hu", "bias_hu")
BASELINE = "input"
"""The method that gains are relative to, if it was evaluated."""


@dataclass(frozen=True)
class SliceRecord:
    """Scores of one method on one slice under one protocol: a line of ``slices.csv``; units as in `protocols.Scores`.

    ``noise_hu`` is the soft-tissue noise of the output, ``noise_full_hu`` that of the full-dose slice in the same
    windows; NaN if the slice has too little soft tissue.
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


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation; ``notes`` are sentences to show with every table."""

    records: tuple[SliceRecord, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def write(self, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Write ``slices.csv``, ``patients.csv`` and ``results.json`` (rows, notes and the given provenance).

        Raises:
            OutputError: a file cannot be written.
        """
        write_text(folder / "slices.csv", _csv([asdict(record) for record in self.records]))
        write_text(folder / "patients.csv", _csv(_patient_lines(self.records)))
        rows = [asdict(row) for row in self.rows]
        write_json(folder / "results.json", {"rows": rows, "notes": list(self.notes), "provenance": dict(provenance)})


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
    numbers = [float(line[name]) for name in (*MEASURES, "noise_hu", "noise_full_hu")]
    return SliceRecord(line["method"], protocol, line["patient"], line["series"], int(line["slice"]), *numbers)


def _patient_lines(records: Sequence[SliceRecord]) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[SliceRecord]] = {}
    for record in records:
        groups.setdefault((record.method, record.protocol, record.patient), []).append(record)
    for (method, protocol, patient), group in groups.items():
        means = {name: float(np.mean(_column(group, name))) for name in MEASURES}
        noise = _mean_where_known(_column(group, "noise_hu"))
        yield {
            "method": method,
            "protocol": protocol,
            "patient": patient,
            "slices": len(group),
            **means,
            "noise_hu": noise,
        }


def _csv(lines: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    first, *rest = lines
    writer = csv.DictWriter(text, first.keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows([first, *rest])
    return text.getvalue()
