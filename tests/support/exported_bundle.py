"""Helpers for exported bundles: plans, results, files and workflows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiny_data import TEST, TinyData

from ctcycle.bundle.export import BundlePlan
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.evaluation.results import SliceRecord, summarise


def write_results(path: Path, run: Path) -> Path:
    """Write the results of an evaluation of ``run``, named `mine`, on two patients that it was trained on."""
    rng = np.random.default_rng(0)
    records = [
        SliceRecord(method, "hu2000", patient, "s", number, *rng.uniform(0.5, 30, 5), 10.0, 5.0)  # type: ignore[arg-type]
        for method in ("input", "mine")
        for patient in ("anna", "berta")
        for number in range(2)
    ]
    note = "mine: NOT held out: it was trained or validated on anna, berta"
    found = summarise(records)
    replace(found, notes=(note, *found.notes)).write(path, {"runs": {"mine": run.as_posix()}})
    return path / "results.json"


def plan_of(run: Path, bundle: Path, **changes: Any) -> BundlePlan:
    return BundlePlan(run=run, bundle=bundle, **changes)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def workflow(bundle: Path, name: str, **overrides: Any) -> Any:
    """Return an initialised workflow of one of the bundle's configs."""
    from monai.bundle import ConfigWorkflow

    kind = "train" if name == "train" else "infer"
    found = ConfigWorkflow(
        bundle / "configs" / f"{name}.json",  # type: ignore[arg-type]
        logging_file=False,
        workflow_type=kind,
        bundle_root=str(bundle),
        **overrides,
    )
    found.initialize()
    return found


def low_dose(tiny: TinyData) -> NDArray[np.float32]:
    """Return the low-dose slices of the test patient, in HU."""
    found, _ = find_series(tiny.series / TEST / "low_dose")
    return read_series(found[0]).hu
