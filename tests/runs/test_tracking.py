"""MLflow: what a run leaves there, how it is continued, and that it never stops a training."""

import json
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from interrupted import at_iteration
from mlflow import MlflowClient
from mlflow.entities import Run
from tiny_data import TinyData, assert_same_run, train

from ctcycle.config.training import Tracking
from ctcycle.errors import DivergedError, StoppedError
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.tracking import Tracker, experiment_name, tracking_uri, versions
from ctcycle.runs.watch_record import read_watch

pytestmark = pytest.mark.usefixtures("no_figures")
ON = "tracking.enabled=true"
FILES = {"config.yaml", "manifest.csv", "metrics.jsonl", "fingerprint.json"}


@pytest.fixture
def runs(mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for runs with a store in it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "runs").mkdir()
    shutil.copy(mlflow_store, tmp_path / "runs" / "mlflow.db")
    return tmp_path / "runs"


def client(runs: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")


def tracked(runs: Path, experiment: str = "ctcycle") -> list[Run]:
    """All runs in the store, the oldest first."""
    found = client(runs).get_experiment_by_name(experiment)
    return [] if found is None else client(runs).search_runs([found.experiment_id], order_by=["start_time"])


def files(runs: Path, run: Run, folder: str = "") -> set[str]:
    return {item.path for item in client(runs).list_artifacts(run.info.run_id, folder)}


def steps(runs: Path, run: Run, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client(runs).get_metric_history(run.info.run_id, metric)]


def test_what_a_run_leaves(tiny: TinyData, runs: Path) -> None:
    folder = train(tiny, runs / "mine", "cyclegan", ON)
    (run,) = tracked(runs)
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    params = run.data.params
    assert (params["generator.filters"], params["loss.cycle"], params["seed"]) == ("4", "10.0", "0")
    assert params["data.patch_size"] == "32"
    assert params["data.augmentations"].startswith("[{'_target_': 'RandFlip'")
    assert versions().items() <= run.data.tags.items()
    for record in RunFolder(folder).read_metrics():
        for name in record.keys() - {"iteration", "epoch"}:
            assert (record["iteration"], record[name]) in steps(runs, run, name)
    assert {"train/gen_cycle_full", "train/gen_cycle_full_hu", "train/disc_low", "val/psnr", "val/ssim"} <= set(
        run.data.metrics
    )
    assert "train/disc_low_hu" not in run.data.metrics
    assert files(runs, run) == {
        *("config.yaml", "manifest.csv", "metrics.jsonl", "fingerprint.json", "images", "figures", "model")
    }
    pictures = sorted(files(runs, run, "images"))
    assert [name.partition("+timestamp")[0] for name in pictures if name.endswith(".png")] == [
        "images/validation+step+2",
        "images/validation+step+4",
    ]
    assert files(runs, run, "figures") == {"figures/losses.png"}
    assert files(runs, run, "model") == {"model/best.pt"}
    assert (runs / "mlartifacts").is_dir()


def test_what_training_ended_with_is_a_tag_and_a_file(tiny: TinyData, runs: Path) -> None:
    watched = ("training.watch.enabled=true", "training.watch.fail=false", "training.epochs=1")
    folder = train(tiny, runs / "mine", "supervised", ON, *watched)
    (run,) = tracked(runs)
    record = read_watch(folder)
    assert record is not None
    assert record.faults  # after three iterations it is still the identity
    assert run.data.tags["watch"] == record.sentence
    assert "watch.json" in files(runs, run)
    assert run.data.metrics["watch/faults"] == len(record.faults)


def test_a_stopped_run_is_continued_without_double_steps(tiny: TinyData, tiny_run: Path, runs: Path) -> None:
    with pytest.raises(StoppedError):
        train(tiny, runs / "run", "supervised", ON, "training.stop_after_epoch=2")
    (stopped,) = tracked(runs)
    assert stopped.info.status == "KILLED"
    with at_iteration(9, lambda batch: batch["low_dose"].fill_(float("nan"))), pytest.raises(DivergedError):
        train(tiny, runs / "run", "supervised", ON)
    assert [run.info.status for run in tracked(runs)] == ["FAILED"]
    assert_same_run(train(tiny, runs / "run", "supervised", ON), tiny_run)
    (run,) = tracked(runs)
    assert (run.info.run_id, run.info.status) == (stopped.info.run_id, "FINISHED")
    assert [step for step, _ in steps(runs, run, "train/gen_supervised")] == [2, 4, 6, 8, 10, 12]
    assert [step for step, _ in steps(runs, run, "val/psnr")] == [6, 12]


def test_a_killed_run_had_got_further_than_its_checkpoint(runs: Path) -> None:
    def tracker() -> Tracker:
        made = Tracker(Tracking(), runs / "run", "run", {})
        made.start()
        return made

    (runs / "run").mkdir()
    first = tracker()
    for step in (1, 2, 3):
        first.metrics({"loss": step / 10}, step)
    second = tracker()
    for step in (2, 3, 4):
        second.metrics({"loss": step / 10, "other": 0.5}, step)
    (run,) = tracked(runs)
    assert steps(runs, run, "loss") == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4)]
    assert steps(runs, run, "other") == [(2, 0.5), (3, 0.5), (4, 0.5)]
    assert run.info.status == "RUNNING"


@pytest.mark.slow
def test_a_crashed_run_is_failed_and_no_other_folder_continues_it(tiny: TinyData, runs: Path) -> None:
    with at_iteration(5, lambda batch: batch["low_dose"].fill_(float("inf"))), pytest.raises(DivergedError):
        train(tiny, runs / "run", "supervised", ON)
    shutil.copytree(runs / "run", runs / "copy")
    train(tiny, runs / "copy", "supervised", ON)
    train(tiny, runs / "third", "supervised", ON, "training.epochs=1")
    assert [(run.info.run_name, run.info.status) for run in tracked(runs)] == [
        ("run", "FAILED"),
        ("copy", "FINISHED"),
        ("third", "FINISHED"),
    ]


def test_overwriting_begins_another_run(tiny: TinyData, runs: Path) -> None:
    for _ in range(2):
        train(tiny, runs / "run", "supervised", ON, "overwrite=true", "training.epochs=1")
    assert len({run.info.run_id for run in tracked(runs)}) == 2


def test_where_runs_are_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(Tracking(), tmp_path / "run") == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert tracking_uri(Tracking(), tmp_path / "run") == "http://elsewhere"
    assert tracking_uri(Tracking(uri="http://here"), tmp_path / "run") == "http://here"


def test_the_environment_and_the_experiment_are_respected(
    tiny: TinyData, mlflow_store: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = runs.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(mlflow_store, elsewhere / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'mlflow.db'}")
    train(tiny, runs / "run", "supervised", ON, "tracking.experiment=mine", "training.epochs=1")
    assert tracked(runs) == []
    assert [run.info.run_name for run in tracked(elsewhere, "mine")] == ["run"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, and hardly a pause before the next try."""
    for name, seconds in {"_START_S": 3.0, "_WAIT_S": 0.2, "_END_S": 0.5, "_FIRST_PAUSE_S": 1e-6}.items():
        monkeypatch.setattr(f"ctcycle.runs.tracking.{name}", seconds)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    ours = [record for record in caplog.records if record.name.startswith("ctcycle")]
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


def whole(runs: Path, run: Run) -> None:
    """Asserts that MLflow has all of a tiny supervised run."""
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "0"
    assert [step for step, _ in steps(runs, run, "train/gen_supervised")] == [2, 4, 6, 8, 10, 12]
    assert [step for step, _ in steps(runs, run, "val/psnr")] == [6, 12]
    assert files(runs, run) == {*FILES, "images", "figures", "model"}


def test_a_dead_server_costs_seconds_and_a_warning(
    tiny: TinyData, tiny_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    started = time.monotonic()
    with caplog.at_level(logging.INFO):
        run = train(tiny, tmp_path / "run", "supervised", ON, f"tracking.uri={uri}")
    assert time.monotonic() - started < 20
    kept = run / "tracking_events.jsonl"
    (warning,) = warnings_of(caplog)
    assert warning.startswith(f"MLflow at {uri} is unavailable (")
    assert warning.endswith(f"); training continues, events are queued in {kept}")
    events = [json.loads(line) for line in kept.read_text().splitlines()]
    assert f"{kept}: {len(events)} events are queued for MLflow; run the command again to send them" in caplog.text
    assert [event["step"] for event in events if "train/gen_supervised" in event.get("metrics", {})] == [
        *(2, 4, 6, 8, 10, 12)
    ]
    assert events[-1]["status"] == "FINISHED"
    assert_same_run(run, tiny_run)


def test_a_server_that_never_answers_is_not_waited_for(
    runs: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    (runs / "run").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tracker = Tracker(Tracking(uri=uri), runs / "run", "run", {})
        monkeypatch.setattr("ctcycle.runs.tracking._START_S", 0.5)
        started = time.monotonic()
        tracker.start()
        for step in range(100):
            tracker.metrics({"loss": 0.1}, step)
        tracker.finish("FINISHED")
        assert time.monotonic() - started < 2
    assert (runs / "run" / "tracking_events.jsonl").read_text().count("\n") == 101


@contextmanager
def locked_store(runs: Path) -> Iterator[sqlite3.Connection]:
    """Inside, nobody else can use the store."""
    with closing(sqlite3.connect(runs / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection
        connection.execute("COMMIT")


def test_a_store_that_is_locked_for_a_while_lacks_nothing_in_the_end(
    tiny: TinyData, tiny_run: Path, runs: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctcycle.runs.tracking._WAIT_S", 0.2)
    with ExitStack() as stack, caplog.at_level(logging.INFO):
        lock, free = at_iteration(3, lambda _: stack.enter_context(locked_store(runs))), lambda _: stack.close()
        with lock, at_iteration(11, free):
            assert_same_run(train(tiny, runs / "run", "supervised", ON), tiny_run)
    assert len(warnings_of(caplog)) == 1
    assert "is unavailable (no answer within 0.2 s); training continues" in warnings_of(caplog)[0]
    assert "is reachable again; queued events were sent" in caplog.text
    whole(runs, tracked(runs)[0])
    assert not (runs / "run" / "tracking_events.jsonl").exists()


def test_what_was_kept_is_sent_when_a_finished_run_is_started_again(
    tiny: TinyData, runs: Path, caplog: pytest.LogCaptureFixture, impatient: None
) -> None:
    good = (runs / "mlflow.db").read_bytes()
    (runs / "mlflow.db").write_bytes(b"broken")
    train(tiny, runs / "run", "supervised", ON)
    assert len(warnings_of(caplog)) == 1
    (runs / "mlflow.db").write_bytes(good)
    for _ in range(2):  # the second time there is nothing left
        train(tiny, runs / "run", "supervised", ON)
        whole(runs, tracked(runs)[0])
    assert len(tracked(runs)) == 1
    assert not (runs / "run" / "tracking_events.jsonl").exists()


def test_what_was_kept_is_sent_when_the_run_goes_on(
    tiny: TinyData, tiny_run: Path, runs: Path, impatient: None
) -> None:
    good = (runs / "mlflow.db").read_bytes()
    (runs / "mlflow.db").write_bytes(b"broken")
    with pytest.raises(StoppedError):
        train(tiny, runs / "run", "supervised", ON, "training.stop_after_epoch=3")
    (runs / "mlflow.db").write_bytes(good)
    statuses: list[str] = []
    with at_iteration(11, lambda _: statuses.extend(run.info.status for run in tracked(runs))):
        assert_same_run(train(tiny, runs / "run", "supervised", ON), tiny_run)
    assert statuses == ["RUNNING"]  # that it had been stopped is not sent after it was started again
    whole(runs, tracked(runs)[0])


def go(runs: Path, steps: range, settings: Tracking | None = None, status: str = "FINISHED") -> Tracker:
    """Track a run with one metric at these steps."""
    (runs / "run").mkdir(exist_ok=True)
    tracker = Tracker(settings or Tracking(), runs / "run", "run", {"lr": 1})
    tracker.start()
    for step in steps:
        tracker.metrics({"loss": 1.0}, step)
    tracker.finish(status)  # type: ignore[arg-type]
    return tracker


def queued(runs: Path) -> int:
    file = runs / "run" / "tracking_events.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_deleted_run_is_followed_by_a_new_one(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = go(runs, range(3))
    client(runs).delete_run(first.run_id)
    second = go(runs, range(3, 6))
    assert queued(runs) == 0
    assert second.run_id != first.run_id
    (run,) = tracked(runs)
    assert (run.info.run_id, run.info.status) == (second.run_id, "FINISHED")
    assert [step for step, _ in steps(runs, run, "loss")] == [3, 4, 5]
    assert warnings_of(caplog) == [
        f"MLflow run {first.run_id} was deleted; logging continues in a new run, without earlier steps"
    ]


def test_a_run_that_is_deleted_while_it_goes_on_loses_nothing_that_follows(runs: Path) -> None:
    (runs / "run").mkdir()
    tracker = Tracker(Tracking(), runs / "run", "run", {})
    tracker.start()
    tracker.metrics({"loss": 1.0}, 1)
    client(runs).delete_run(tracker.run_id)
    tracker.metrics({"loss": 1.0}, 2)
    tracker.finish("FINISHED")
    assert queued(runs) == 0
    (run,) = tracked(runs)
    assert [step for step, _ in steps(runs, run, "loss")] == [2]


def test_an_unknown_run_is_followed_by_a_new_one(runs: Path) -> None:
    go(runs, range(1))
    file = runs / "run" / "tracking.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"run_id": "f" * 32}))
    go(runs, range(1, 2))
    assert queued(runs) == 0
    assert len(tracked(runs)) == 2


def test_a_deleted_experiment_has_to_be_restored(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    go(runs, range(1))
    experiment = client(runs).get_experiment_by_name("ctcycle")
    assert experiment is not None
    client(runs).delete_experiment(experiment.experiment_id)
    with caplog.at_level(logging.INFO, "ctcycle"):
        go(runs, range(1, 3))
    remedy = f"restore it (mlflow experiments restore --experiment-id {experiment.experiment_id}) or set another"
    assert any("refuses this run: experiment 'ctcycle' was deleted; " in text for text in warnings_of(caplog))
    assert remedy in caplog.text
    assert f"{queued(runs)} events are queued for MLflow; experiment 'ctcycle' was deleted" in caplog.text
    client(runs).restore_experiment(experiment.experiment_id)
    go(runs, range(3, 4))
    assert queued(runs) == 0
    assert [step for run in tracked(runs) for step, _ in steps(runs, run, "loss")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "does not accept the credentials"), (403, "access is denied"), (404, "no MLflow server at this address")],
)
def test_a_refusal_is_no_outage(status: int, remedy: str, runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 (the name that http.server calls)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        go(runs, range(50), Tracking(uri=f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
    (warning,) = warnings_of(caplog)
    assert remedy in warning
    assert "is unavailable" not in warning
    assert queued(runs) == 51
    assert len(asked) <= 4  # at the start and at the end, not for each event


def test_the_experiment_of_the_environment(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    go(runs, range(1))
    go(runs.parent / "runs", range(1, 2), Tracking(experiment="ours"))
    assert len(tracked(runs, "theirs")) == 1
    assert experiment_name(Tracking(experiment="ours")) == "ours"
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert experiment_name(Tracking()) == "ctcycle"


@pytest.mark.parametrize("name", ["100%25", "what?", "a b #ü"])
def test_a_path_with_special_characters(name: str, mlflow_store: Path, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(mlflow_store, folder / "mlflow.db")
    tracker = go(folder, range(2))
    assert queued(folder) == 0
    assert MlflowClient(tracker.uri).get_run(tracker.run_id).info.status == "FINISHED"


def test_a_store_that_takes_long_to_create_has_not_failed(
    mlflow_store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Tracker._connect

    def slowly(self: Tracker) -> MlflowClient:
        time.sleep(1.0)
        shutil.copy(mlflow_store, tmp_path / "mlflow.db")
        return connect(self)

    monkeypatch.setattr(Tracker, "_connect", slowly)
    monkeypatch.setattr("ctcycle.runs.tracking._START_S", 0.1)
    monkeypatch.setattr("ctcycle.runs.tracking._END_S", 0.1)
    with caplog.at_level(logging.INFO, "ctcycle"):
        go(tmp_path, range(3))
    assert queued(tmp_path) == 0
    assert warnings_of(caplog) == []
    assert f"MLflow is creating sqlite:///{tmp_path / 'mlflow.db'}, which may take minutes" in caplog.text
    assert "is ready; queued events were sent" in caplog.text


def test_tries_become_rarer(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs / "run").mkdir()
    now, tries = [1000.0], []

    def fail() -> None:
        tries.append(now[0])
        raise OSError("down")

    monkeypatch.setattr("ctcycle.runs.tracking.time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    tracker = Tracker(Tracking(), runs / "run", "run", {})
    monkeypatch.setattr(tracker, "_connect", fail)
    tracker.start()
    for step in range(3000):
        now[0] += 1
        tracker.metrics({"loss": 0.1}, step)
        if tracker._sender is not None:
            tracker._sender.join()
    assert [later - earlier for earlier, later in pairwise(tries)] == [15, 30, 60, 120, 240, 480, 600, 600, 600]


@pytest.mark.parametrize(("enabled", "warnings"), [("false", 0), ("true", 1)])
def test_without_mlflow(
    enabled: str, warnings: int, tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # an import of it fails
    run = train(tiny, tmp_path / "run", "supervised", f"tracking.enabled={enabled}", "training.epochs=1")
    assert (run / "log.txt").read_text().count("WARNING MLflow at ") == warnings
    assert not (run / "tracking.json").exists()
    assert not (tmp_path / "mlflow.db").exists()


def test_long_values_and_many_of_them(runs: Path) -> None:
    (runs / "run").mkdir()
    Tracker(Tracking(), runs / "run", "run", {f"key{n}": "x" * 7000 for n in range(250)}).start()
    (run,) = tracked(runs)
    assert len(run.data.params) == 250
    assert set(map(len, run.data.params.values())) == {500}


def test_what_identifies_the_code(runs: Path) -> None:
    found = versions()
    assert {"ctcycle", "torch", "monai", "pytorch-ignite", "python", "git_commit"} <= found.keys()
    assert len(found["git_commit"].removesuffix("-dirty")) in {7, 40}  # "unknown", or a whole hash
    (runs / "run").mkdir()
    Tracker(Tracking(), runs / "run", "run", {}).start()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    known = json.loads((runs / "run" / "tracking.json").read_text())
    assert known["run_id"] == tracked(runs)[0].info.run_id


@pytest.mark.slow
def test_a_new_store_is_made_in_silence(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import mlflow  # as monai and ignite may, long before a run is tracked
from ctcycle.config.training import Tracking
from ctcycle.runs.tracking import Tracker

tracker = Tracker(Tracking(), Path(sys.argv[1]), "name", {})
tracker.start()
tracker.finish("FINISHED")
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    (tmp_path / "run").mkdir()
    line = [sys.executable, "-c", code, str(tmp_path / "run")]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    assert (tmp_path / "mlflow.db").exists()
    assert "INFO" not in done.stderr
