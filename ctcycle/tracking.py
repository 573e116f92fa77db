"""One MLflow run, through the client: local first, never fatal, no global state.

What matters is in the run folder already; MLflow is where people look. The first failure is told once and ends the
tracking of this run, so that a dead server costs one short wait.
"""

import json
import logging
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ctcycle import __version__
from ctcycle.atomic import write_json
from ctcycle.config.schema import Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)
_PARAM_LENGTH = 500
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(settings: Tracking, folder: Path) -> str:
    """Where runs are tracked: the config's uri, else the environment's, else SQLite beside the run folder."""
    local = f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
    return settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or local


def recorded_uri(folder: Path) -> str | None:
    """Where the run in ``folder`` was tracked; None where it was not."""
    file = folder / "tracking.json"
    return str(json.loads(file.read_text())["uri"]) if file.exists() else None


def versions() -> dict[str, str]:
    """Versions of what results depend on, and the git commit of the code where it is known."""
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
    """One run in MLflow. Every method is safe to call whatever state the store is in.

    Args:
        settings: whether, where, under which experiment.
        folder: the run folder; ``tracking.json`` in it remembers the run, so that only the same folder continues it.
        name: shown in MLflow.
    """

    def __init__(self, settings: Tracking, folder: Path, name: str) -> None:
        self.settings, self.folder, self.name = settings, folder, name
        self.uri = tracking_uri(settings, folder)
        self.run_id = ""
        self._client: MlflowClient | None = None
        self._logged: dict[str, int] = {}
        self._file = folder / "tracking.json"

    def start(self, params: Mapping[str, Any]) -> None:
        """Opens the run: the one that this folder began if there is one, else a new one with ``params``."""
        if self.settings.enabled:
            self._safely(lambda: self._start(params))

    def _start(self, params: Mapping[str, Any]) -> None:
        for key, value in _ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # if mlflow was imported before, it has not seen the environment
            logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
        client = MlflowClient(tracking_uri=self.uri)
        here = {"uri": self.uri, "folder": str(self.folder.resolve())}
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        if here.items() <= known.items():
            self.run_id = known["run_id"]
            client.update_run(self.run_id, status="RUNNING")
            self._logged = _last_steps(client, self.run_id)
        else:
            self.run_id = self._create(client, params)
            write_json(self._file, {**here, "run_id": self.run_id})
        self._client = client

    def _create(self, client: "MlflowClient", params: Mapping[str, Any]) -> str:
        from mlflow.entities import Param

        found = client.get_experiment_by_name(self.settings.experiment)
        where = (self.folder.resolve().parent / "mlartifacts").as_uri() if self.uri.startswith("sqlite") else None
        kind = {"mlflow.experimentKind": "custom_model_development"}  # which of its views MLflow's pages open
        experiment = found.experiment_id if found else client.create_experiment(self.settings.experiment, where, kind)
        run = client.create_run(experiment, run_name=self.name, tags={"mlflow.source.name": "ctcycle", **versions()})
        pairs = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
        for start in range(0, len(pairs), 100):
            client.log_batch(run.info.run_id, params=pairs[start : start + 100])
        return str(run.info.run_id)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Logs numbers at ``step`` in one call; steps that were logged before the run was stopped are left out."""
        new = {key: value for key, value in values.items() if step > self._logged.get(key, -1)}

        def log(client: "MlflowClient") -> None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            client.log_batch(self.run_id, metrics=[Metric(key, value, now, step) for key, value in new.items()])

        if new:
            self._with_client(log)

    def artifact(self, path: Path, place: str | None = None) -> None:
        """Logs a file, under the folder ``place`` of the run's artefacts."""
        self._with_client(lambda client: client.log_artifact(self.run_id, str(path), place))

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Closes the run with ``status``."""
        self._with_client(lambda client: client.set_terminated(self.run_id, status))

    def _with_client(self, action: Callable[["MlflowClient"], None]) -> None:
        if self._client is not None:
            client = self._client
            self._safely(lambda: action(client))

    def _safely(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 (whatever MLflow or its server does, training goes on)
            self._client = None
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            _log.warning("MLflow at %s failed (%s); training goes on, metrics are in %s", self.uri, first, self.folder)


def _last_steps(client: "MlflowClient", run_id: str) -> dict[str, int]:
    """Metric to the last step that is logged of it: a killed run had got further than its checkpoint."""
    keys = client.get_run(run_id).data.metrics
    return {key: max(metric.step for metric in client.get_metric_history(run_id, key)) for key in keys}
