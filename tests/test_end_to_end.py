"""The whole way, from nothing to measured and denoised scans, by one config and one command."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pydicom
import pytest
from mlflow import MlflowClient
from tiny_data import METHODS, SETTINGS, TRAIN

from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.data.manifest import read_manifest
from ctcycle.run import main

MANIFEST = "runs/tiny/manifest/manifest.csv"


def training(method: str) -> dict[str, Any]:
    changes = {
        "data": {**TRAIN["data"], "manifest": MANIFEST},
        "generator": {**TRAIN["generator"], "dropout": 0.0},
        "optimizer": {"lr": 3e-3},
        "training": {
            "epochs": 2,
            "iterations_per_epoch": 40,
            "batch_size": 4,
            "ema_decay": 0.9,
            "watch": {"fail": False},  # 80 iterations do not leave the identity
        },
        "validation": {"every": 2, "slices": 2},
        "tracking": {"every": 10},
    }
    return {**TRAIN, **METHODS[method], **changes, "method": method}


PIPELINE = {
    "task": "pipeline",
    "steps": {
        "data": {"task": "simulate", "workers": 1, "simulation": asdict(SETTINGS)},
        "manifest": {
            "task": "scan",
            "sources": [{"path": "runs/tiny/data"}],
            "split": {"val": ["sim006"], "test": ["sim007"]},
        },
        "cyclegan": training("cyclegan"),
        "supervised": training("supervised"),
        "results": {
            "task": "evaluate",
            "out": "runs/tiny",
            "manifest": MANIFEST,
            "methods": {"supervised": "runs/tiny/supervised", "cyclegan": "runs/tiny/cyclegan"},
            "filters": ["input", "gaussian"],
            "panels": 1,
        },
        "denoised": {
            "task": "denoise",
            "model": "runs/tiny/supervised",
            "input": "runs/tiny/data/series/sim007/low_dose",
        },
    },
}


def times(folder: Path) -> dict[Path, int]:
    """When each file was written that a second run has no reason to write again."""
    renewed = {"pipeline.yaml", "summary.json", "finished", "log.txt", "written.json"}
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in renewed)
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_from_nothing_to_denoised_scans(
    tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Path("tiny.yaml").write_text(dump_yaml(PIPELINE))
    runs = Path("runs/tiny")
    runs.mkdir(parents=True)
    shutil.copy(mlflow_store, runs / "mlflow.db")
    assert main(["--config", "tiny.yaml"]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert f"-> {runs / 'results.json'}" in said
    assert "1 denoised, 0 already done, 0 refused" in said

    assert read_manifest(Path(MANIFEST)).patients == tuple(f"sim{number:03d}" for number in range(8))
    results = json.loads((runs / "results.json").read_text())["rows"]
    rows = {row["method"]: row for row in results if row["protocol"] == "hu2000"}
    assert rows.keys() == {"input", "gaussian", "supervised", "cyclegan"}
    assert rows["supervised"]["psnr"] > rows["input"]["psnr"] + 0.5
    assert rows["supervised"]["rmse_hu"] < rows["input"]["rmse_hu"]
    figures = {figure.name for figure in (runs / "figures").iterdir()}
    kinds = ("soft_tissue", "lung", "bone", "magnified", "differences")
    assert {name for name in figures if not name.startswith("report_worst_")} == {
        *("panels.png", "psnr_by_slice.png", "losses_cyclegan.png", "losses_supervised.png"),
        *(f"report_{name}_{number}.png" for name in ("patients", "training") for number in (1, 2)),
        *(f"report_slice_1_{kind}.png" for kind in kinds),
    }
    assert "supervised" in (runs / "report.html").read_text()
    images = [pydicom.dcmread(file) for file in sorted((runs / "denoised" / "low_dose").glob("*.dcm"))]
    assert [image.PatientID for image in images] == ["sim007"] * 2
    client = MlflowClient(f"sqlite:///{tmp_path / runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ctcycle")
    assert experiment is not None
    found = {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert found == {"tiny": "FINISHED", "tiny.cyclegan": "FINISHED", "tiny.supervised": "FINISHED"}

    before = times(runs)
    assert main(["--config", "tiny.yaml"]) == 0
    again, beside = capsys.readouterr()
    assert again.count("already finished; set overwrite=true to rerun") == len(PIPELINE["steps"]) - 1
    assert "already exists, skipping" in beside  # denoising looks for new series
    assert f"-> {runs / 'results.json'}" in again
    assert times(runs) == before
