"""Figures of an evaluation reach the MLflow run whose weights made them, and no other."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tiny_data import TinyData, train

from ctcycle.runs.measured import log_evaluation
from ctcycle.runs.tracking import recorded_uri

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def run(tiny: TinyData, mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tracked run that is finished."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "runs").mkdir()
    shutil.copy(mlflow_store, tmp_path / "runs" / "mlflow.db")
    return train(tiny, tmp_path / "runs" / "mine", "supervised", "tracking.enabled=true", "training.epochs=1")


def digest(run: Path) -> str:
    return hashlib.sha256((run / "checkpoints" / "best.pt").read_bytes()).hexdigest()


def logged(run: Path) -> dict[str, float]:
    client = MlflowClient(str(recorded_uri(run)))
    experiment = client.get_experiment_by_name("ctcycle")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    return {key: value for key, value in found.data.metrics.items() if key.startswith("eval/")}


def test_figures_and_report_are_logged_under_the_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("report")
    assert log_evaluation(run, digest(run), "test", {"slope": 1.01, "missing": None}, [tmp_path / "report.html"])
    assert logged(run) == {"eval/test/slope": 1.01}
    assert list((run.parent / "mlartifacts").rglob("eval/test/report.html"))


def test_a_second_evaluation_is_a_later_step(run: Path) -> None:
    for slope in (1.01, 1.02):
        assert log_evaluation(run, digest(run), "test", {"slope": slope})
    client, run_id = MlflowClient(str(recorded_uri(run))), json.loads((run / "tracking.json").read_text())["run_id"]
    history = client.get_metric_history(run_id, "eval/test/slope")
    assert [(metric.step, metric.value) for metric in history] == [(0, 1.01), (1, 1.02)]
    assert logged(run) == {"eval/test/slope": 1.02}


def test_figures_of_other_weights_or_of_a_copy_are_not(run: Path) -> None:
    assert not log_evaluation(run, "0" * 64, "test", {"slope": 1.0})
    shutil.copytree(run, run.parent / "copy")
    assert not log_evaluation(run.parent / "copy", digest(run), "test", {"slope": 1.0})
    assert logged(run) == {}


def test_it_never_fails(run: Path) -> None:
    assert not log_evaluation(run.parent / "nothing", "0", "test", {})
    known = digest(run)
    (run / "tracking.json").write_text("{")
    assert not log_evaluation(run, known, "test", {"slope": 1.0})
