"""What MLflow is told of a manifest: digest and counts, and nobody's name."""

import json
from dataclasses import replace
from pathlib import Path

from tiny_data import TinyData

from ctcycle.data.manifest import Manifest, read_manifest
from ctcycle.runs.mlflow_store.data_sets import data_sets, described


def manifest(tiny: TinyData) -> Manifest:
    return read_manifest(tiny.manifest)


def test_sizes_are_those_of_the_rows(tiny: TinyData) -> None:
    found = data_sets(manifest(tiny))
    assert [(one["name"], one["context"]) for one in found] == [
        ("train split", "training"),
        ("val split", "validation"),
        ("test split", "testing"),
    ]
    size = {"patients": 6, "series": 6, "slices": 12}
    assert json.loads(found[0]["profile"]) == {"patients": 6, "low_dose": size, "full_dose": size}
    assert described(found).splitlines()[0] == (
        "- training: 12 low-dose slices of 6 patients, 12 full-dose slices of 6 patients"
    )


def test_nobody_is_named(tiny: TinyData) -> None:
    text = json.dumps(data_sets(manifest(tiny)))
    rows = manifest(tiny).rows
    assert not [row.patient for row in rows if row.patient in text or row.path in text or row.series in text]


def test_the_digest_changes_with_any_row_of_its_split(tiny: TinyData) -> None:
    known = manifest(tiny)
    at = next(number for number, row in enumerate(known.rows) if row.split == "val")
    changed = [replace(row, slices=3) if number == at else row for number, row in enumerate(known.rows)]
    before, after = (
        {one["context"]: one["digest"] for one in data_sets(each)}
        for each in (known, replace(known, rows=tuple(changed)))
    )
    assert {context for context in before if before[context] != after[context]} == {"validation"}
    assert all(len(digest) == 12 for digest in before.values())


def test_only_series_of_the_kernel_count(tiny: TinyData) -> None:
    assert data_sets(manifest(tiny), "no such kernel") == []


def test_an_empty_split_is_no_data_set() -> None:
    assert data_sets(Manifest(Path("manifest.csv"), ())) == []
