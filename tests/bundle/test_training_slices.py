"""The low-dose slices that a run was trained on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exported_bundle import plan_of
from tiny_data import TinyData

from ctcycle.bundle.export import export_bundle
from ctcycle.bundle.training_slices import TrainingSlices, describe_series
from ctcycle.ct.hounsfield import MU_WATER
from ctcycle.errors import ManifestError
from ctcycle.inference.fingerprint import measure_fingerprint
from ctcycle.runs.fingerprints import write_fingerprint


@pytest.fixture
def without_data(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run whose data are no longer where its manifest says."""
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    manifest = (run / "manifest.csv").read_text()
    (run / "manifest.csv").write_text(manifest.replace("/low_dose", "/gone"))
    (run / "fingerprint.json").unlink(missing_ok=True)
    return run


def slices_of(run: Path, tiny: TinyData) -> TrainingSlices:
    return TrainingSlices(run, tiny.manifest, None, None, MU_WATER)


def test_they_are_those_of_the_training_split_and_the_kernel(tiny: TinyData, tiny_run: Path) -> None:
    rows = slices_of(tiny_run, tiny).rows()
    assert {(row.dose, row.split) for row in rows} == {("low_dose", "train")}
    assert len(rows) == 6
    assert replace(slices_of(tiny_run, tiny), kernel="sharp").rows() == []


def test_no_patient_is_named(tiny: TinyData, tiny_run: Path) -> None:
    rows = slices_of(tiny_run, tiny).rows()
    assert describe_series(rows) == "6 patients, 12 slices, kernel soft"
    assert describe_series([rows[0]]) == "1 patient, 2 slices, kernel soft"
    mixed = [rows[0], replace(rows[1], kernel=None)]
    assert describe_series(mixed) == "2 patients, 4 slices, kernels soft, unknown"


def test_a_run_whose_data_have_gone_says_how_to_do_without(without_data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"cannot measure its training slices .*; restore them, or set fingerprint=false"
    ):
        export_bundle(plan_of(without_data, tmp_path / "made", formats=()))
    assert not (tmp_path / "made").exists()


def test_a_run_that_kept_its_fingerprint_needs_no_data(without_data: Path, tiny: TinyData) -> None:
    volume = np.random.default_rng(0).normal(0, 100, (2, 40, 50)).astype(np.int16)
    write_fingerprint(without_data, [volume])
    expected = measure_fingerprint(volume.astype(np.float32))
    assert repr(slices_of(without_data, tiny).fingerprint()) == repr(expected)
