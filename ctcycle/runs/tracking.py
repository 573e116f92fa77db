"""MLflow tracking of one run through the client API: local first, never fatal, no global state.

Everything that matters is already in the run folder; MLflow is for viewing and comparing.
"""

import json
import logging
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

from ctcycle import __version__
from ctcycle.atomic import write_json
from ctcycle.config.training import Tracking
from ctcycle.runs.event_file import EventFile

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)
_PARAM_LENGTH = 500
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "GIT_PYTHON_REFRESH": "quiet",
}
_START_S, _WAIT_S, _END_S = 20.0, 2.0, 4.0
"""Maximum seconds to wait for the MLflow store: at the start, which may create it; for each event; at the end."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 15.0, 600.0


def tracking_uri(settings: Tracking, folder: Path) -> str:
    """Return the tracking URI: from the config, else the environment, else an SQLite file next to the run folder."""
    local = f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
    return settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or local


def recorded_uri(folder: Path) -> str | None:
    """Return the tracking URI of the run in ``folder``; None if it was not tracked."""
    file = folder / "tracking.json"
    return str(json.loads(file.read_text())["uri"]) if file.exists() else None


def versions() -> dict[str, str]:
    """Return the versions of the software that results depend on, and the git commit of the code if known."""
    packages = ("torch", "monai", "pytorch-ignite", "numpy", "pydicom")
    found = {"ctcycle": __version__, "python": platform.python_version()}
    return {**found, **{name: version(name) for name in packages}, "git_commit": _commit()}


def _commit() -> str:
    source = Path(__file__).parent
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603 (constant words)
    except (OSError, subprocess.SubprocessError):
        return "unknown"


class Tracker:
    """One run in MLflow. Methods never fail and never block for long, whatever the state of the store.

    Every event is first written to ``tracking_events.jsonl``, and removed once the store has it. A thread sends the
    events; the caller waits for it only while the store responds. In an outage training continues, retries become less
    frequent, and queued events are sent when the store is reachable again, at the end, or when the run is resumed.

    Args:
        settings: the tracking section of the config.
        folder: the run folder; its ``tracking.json`` identifies the MLflow run, which only this folder continues.
        name: the run name shown in MLflow.
        params: parameters logged for a new run.
    """

    def __init__(self, settings: Tracking, folder: Path, name: str, params: Mapping[str, Any]) -> None:
        self.settings, self.folder, self.name, self.params = settings, folder, name, params
        self.uri = tracking_uri(settings, folder)
        self.run_id = ""
        self._client: MlflowClient | None = None
        self._logged: dict[str, int] = {}
        self._file = folder / "tracking.json"
        self._events = EventFile(folder / "tracking_events.jsonl")
        self._sender: Thread | None = None
        self._pause = 0.0  # seconds until the next retry; 0 while the store responds
        self._next_try = 0.0

    def start(self) -> None:
        """Open the MLflow run of this folder, or a new one if there is none."""
        self._events.forget(lambda event: "status" in event)  # the run is active again
        self._send(_START_S)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at ``step``; steps already logged before the run was interrupted are skipped."""
        self._add({"metrics": dict(values), "step": step})

    def artifact(self, path: Path, place: str | None = None) -> None:
        """Log a file to the folder ``place`` of the run's artefacts."""
        self._add({"artifact": os.path.relpath(path, self.folder), "place": place})

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Close the run with ``status``."""
        if self.settings.enabled:
            self._events.add({"status": status, "time": _now()})
            self.send_rest(_END_S)

    def send_rest(self, wait: float = 60.0) -> None:
        """Send all queued events, waiting up to ``wait`` seconds."""
        if not (self.settings.enabled and len(self._events)):
            return
        until = time.monotonic() + wait
        if self._sender is not None:
            self._sender.join(wait)
        self._next_try = 0.0
        self._send(max(0.0, until - time.monotonic()))
        if left := len(self._events):
            _log.info(
                "%s: %d events are queued for MLflow; run the command again to send them", self._events.path, left
            )

    def _add(self, event: dict[str, Any]) -> None:
        if self.settings.enabled:
            self._events.add({**event, "time": _now()})
            self._send(0.0 if self._pause else _WAIT_S)

    def _send(self, wait: float) -> None:
        """Send all events in a thread, and wait up to ``wait`` seconds; the thread continues if it takes longer."""
        busy = self._sender is not None and self._sender.is_alive()
        if not self.settings.enabled or busy or time.monotonic() < self._next_try:
            return
        self._sender = Thread(target=self._deliver, daemon=True)
        self._sender.start()
        self._sender.join(wait)
        if self._sender.is_alive() and not self._pause:
            self._fail(f"no answer within {wait:.3g} s")

    def _deliver(self) -> None:
        done = 0
        try:
            client = self._connect() if self._client is None else self._client
            for event in self._events.all():
                self._perform(client, event)
                done += 1
            self._client = client
            if self._pause:
                _log.info("MLflow at %s is reachable again; queued events were sent", self.uri)
            self._pause = 0.0
        except Exception as error:  # noqa: BLE001 (training continues whatever MLflow or its server does)
            self._client = None
            self._fail(str(error).splitlines()[0] if str(error) else type(error).__name__)
        finally:
            self._events.drop(done)

    def _fail(self, reason: str) -> None:
        if not self._pause:
            _log.warning(
                "MLflow at %s is unavailable (%s); training continues, events are queued in %s",
                *(self.uri, reason, self._events.path),
            )
        self._pause = min(max(_FIRST_PAUSE_S, 2 * self._pause), _LONGEST_PAUSE_S)
        self._next_try = time.monotonic() + self._pause

    def _connect(self) -> "MlflowClient":
        for key, value in _ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # mlflow reads the environment only on import, which may have happened
            logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
        logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # it logs every error that it also raises
        client = MlflowClient(tracking_uri=self.uri)
        here = {"uri": self.uri, "folder": str(self.folder.resolve())}
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        if here.items() <= known.items():
            self.run_id = known["run_id"]
            client.update_run(self.run_id, status="RUNNING")
            self._logged = _last_steps(client, self.run_id)
        else:
            self.run_id = self._create(client)
            write_json(self._file, {**here, "run_id": self.run_id})
        return client

    def _create(self, client: "MlflowClient") -> str:
        from mlflow.entities import Param

        found = client.get_experiment_by_name(self.settings.experiment)
        where = (self.folder.resolve().parent / "mlartifacts").as_uri() if self.uri.startswith("sqlite") else None
        kind = {"mlflow.experimentKind": "custom_model_development"}  # selects the view that MLflow's UI opens
        experiment = found.experiment_id if found else client.create_experiment(self.settings.experiment, where, kind)
        run = client.create_run(experiment, run_name=self.name, tags={"mlflow.source.name": "ctcycle", **versions()})
        pairs = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in self.params.items()]
        for start in range(0, len(pairs), 100):
            client.log_batch(run.info.run_id, params=pairs[start : start + 100])
        return str(run.info.run_id)

    def _perform(self, client: "MlflowClient", event: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        if "metrics" in event:
            step = event["step"]
            new = {key: value for key, value in event["metrics"].items() if step > self._logged.get(key, -1)}
            client.log_batch(self.run_id, [Metric(key, value, event["time"], step) for key, value in new.items()])
            self._logged |= dict.fromkeys(new, step)
        elif "artifact" in event:
            file = self.folder / event["artifact"]
            if file.exists():  # it may have been removed in the meantime
                client.log_artifact(self.run_id, str(file), event["place"])
        else:
            client.set_terminated(self.run_id, event["status"], event["time"])


def _now() -> int:
    return int(time.time() * 1000)


def _last_steps(client: "MlflowClient", run_id: str) -> dict[str, int]:
    """Return the last logged step of each metric; a killed run may have logged past its checkpoint."""
    keys = client.get_run(run_id).data.metrics
    return {key: max(metric.step for metric in client.get_metric_history(run_id, key)) for key in keys}
