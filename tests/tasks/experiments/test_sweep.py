"""Sweeps: each trial is a run of its own, a stopped sweep continues, the best is chosen, without truth if need be."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from interrupted import at_iteration
from mlflow import MlflowClient
from tiny_data import TinyData, assert_same_run, train, write_train_config

from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import ConfigError, DivergedError
from ctcycle.runs.folder import RunFolder
from ctcycle.tasks import running
from ctcycle.tasks.experiments.trials import TrialFile

pytestmark = pytest.mark.usefixtures("no_figures")
SHORT = {"training.epochs": 2, "validation.every": 1}


def sweep(tiny: TinyData, out: Path, *overrides: str, method: str = "supervised", **changes: Any) -> Path:
    """Run a sweep over a tiny config, and return its folder."""
    base = write_train_config(tiny, out.parent / "base", method)
    config = {
        "task": "sweep",
        "train": str(base),
        "out": str(out),
        "set": SHORT,
        "vary": {"optimizer.lr": [1e-4, 1e-2]},
        "tracking": {"enabled": False},
        **changes,
    }
    (out.parent / "sweep.yaml").write_text(dump_yaml(config))
    running.run(load_config(out.parent / "sweep.yaml", overrides))
    return out


@pytest.mark.slow
def test_trials_are_runs_with_the_values_and_the_best_is_found(
    tiny: TinyData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = sweep(tiny, tmp_path / "sweep")
    trials = TrialFile(out / "trials.json").trials
    assert [trial.state for trial in trials] == ["finished", "finished"]
    for trial, rate in zip(trials, (1e-4, 1e-2), strict=True):
        config: Any = load_config(out / trial.name / "config.yaml").config
        assert (config.optimizer.lr, config.training.epochs) == (rate, 2)
        scores = [record["val/psnr"] for record in RunFolder(out / trial.name).read_metrics() if "val/psnr" in record]
        assert trial.score == max(scores)
    best = max(trials, key=lambda trial: trial.score or 0)
    again: Any = load_config(out / "best.yaml").config
    assert again.optimizer.lr == best.values["optimizer.lr"]
    assert again.out == out / "best"
    printed = capsys.readouterr().out
    assert f"best: trial {best.number}, lr={best.values['optimizer.lr']:.4g}; val/psnr" in printed
    with (out / "trials.csv").open(newline="") as stream:
        assert [float(row["val/psnr"]) for row in csv.DictReader(stream)] == [trial.score for trial in trials]
    before = {path: path.read_bytes() for path in out.glob("trials.*")}
    sweep(tiny, out)
    assert "already finished" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in out.glob("trials.*")}


@pytest.mark.slow
def test_a_stopped_sweep_continues_and_repeats_nothing(tiny: TinyData, tmp_path: Path) -> None:
    def stop(_batch: object) -> None:
        raise KeyboardInterrupt

    def second(batch: object) -> None:
        if (tmp_path / "sweep" / "trial_002").exists():
            stop(batch)

    with at_iteration(5, second), pytest.raises(KeyboardInterrupt):
        sweep(tiny, tmp_path / "sweep")
    assert [trial.state for trial in TrialFile(tmp_path / "sweep" / "trials.json").trials] == ["finished", "begun"]
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep" / "trial_001").rglob("*.pt")}
    out = sweep(tiny, tmp_path / "sweep")
    assert first == {path: path.stat().st_mtime_ns for path in (out / "trial_001").rglob("*.pt")}
    (tmp_path / "alone").mkdir()
    given = [f"{key}={json.dumps(value)}" for key, value in SHORT.items()]
    alone = train(tiny, tmp_path / "alone" / "run", "supervised", *given, "optimizer.lr=0.01")
    assert_same_run(out / "trial_002", alone)


def test_without_pairs_the_truth_free_penalty_chooses(tiny: TinyData, tmp_path: Path) -> None:
    watched = {
        "training.watch.enabled": True,
        "training.watch.fail": False,
        "validation.every": 9,
        "training.epochs": 1,
    }
    out = sweep(tiny, tmp_path / "sweep", set=watched, score="watch/penalty")
    trials = TrialFile(out / "trials.json").trials
    assert {trial.key for trial in trials} == {"watch/penalty"}
    best: Any = load_config(out / "best.yaml").config
    assert best.optimizer.lr == min(trials, key=lambda trial: trial.score or 0).values["optimizer.lr"]


def test_a_trial_that_diverges_is_a_row_in_the_table(tiny: TinyData, tmp_path: Path) -> None:
    def broken(batch: Any) -> None:
        if not (tmp_path / "sweep" / "trial_002").exists():
            batch["low_dose"].fill_(float("nan"))

    with at_iteration(2, broken):
        out = sweep(tiny, tmp_path / "sweep")
    trials = TrialFile(out / "trials.json").trials
    assert [trial.state for trial in trials] == ["failed", "finished"]
    assert "not finite" in trials[0].reason
    with at_iteration(2, lambda batch: batch["low_dose"].fill_(float("nan"))), pytest.raises(DivergedError) as error:
        sweep(tiny, tmp_path / "other")
    assert str(error.value).startswith(f"{tmp_path / 'other'}: every trial failed; the first: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vary": {"optimizer.rate": [1.0]}}, "unknown key 'optimizer.rate'"),
        ({"vary": {"optimizer.lr": [1.0, -1.0]}}, "optimizer.lr"),
        ({"train": "denoise"}, "denoise: is a config of task 'denoise'; a sweep needs one of task train"),
        ({"train": "no_such"}, "no shipped config named 'no_such'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    changes: dict[str, Any], reason: str, tiny: TinyData, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        sweep(tiny, tmp_path / "sweep", **changes)
    assert reason in str(error.value)
    assert not list((tmp_path / "sweep").glob("trial*"))
    sweep(tiny, tmp_path / "sweep")  # the folder can be used with a valid config


@pytest.mark.slow
def test_draws_bad_trials_end_early_and_more_trials_follow(tiny: TinyData, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    given: dict[str, Any] = {
        "search": "optuna",
        "vary": {"optimizer.lr": {"low": 1e-6, "high": 1e-2, "log": True}},
        "prune": {"enabled": True, "trials": 1, "epochs": 1},
        "set": {"training.epochs": 3, "validation.every": 1},
        "seed": 1,
    }
    out = sweep(tiny, tmp_path / "sweep", trials=4, **given)
    trials = TrialFile(out / "trials.json").trials
    assert len({trial.values["optimizer.lr"] for trial in trials}) == 4
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned
    for trial in pruned:
        assert max(trial.curve) < 3
        assert "worse than the median" in trial.reason
    sweep(tiny, out, trials=5, **given)
    more = TrialFile(out / "trials.json").trials
    assert more[:4] == trials
    assert len(more) == 5


@pytest.mark.slow
def test_mlflow_shows_trials_below_their_sweep(
    tiny: TinyData, tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")
    sweep(tiny, tmp_path / "sweep", tracking={"enabled": True})
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ctcycle")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"sweep", "sweep 001: lr=0.0001", "sweep 002: lr=0.01"}
    parent = runs.pop("sweep")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *runs.values())} == {"FINISHED"}
    assert "best: lr=" in parent.data.tags["mlflow.note.content"]
    files = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert files == {"config.yaml", "trials.csv", "trials.txt", "trials.png", "best.yaml"}
    best = client.get_metric_history(parent.info.run_id, "sweep/best_score")
    assert [point.step for point in best] == [1, 2]
    assert best[1].value == max(run.data.metrics["val/psnr"] for run in runs.values())
