"""MLflow tracking of one run through the client API: local first, never fatal, no global state.

Everything that matters is already in the run folder; MLflow is for viewing and comparing.
"""

import json
import logging
import math
import os
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Literal

from ctcycle import __version__
from ctcycle.atomic import write_json
from ctcycle.config.training import Tracking
from ctcycle.errors import StoppedError
from ctcycle.runs.mlflow_store.connection import artifacts_of, connect
from ctcycle.runs.mlflow_store.event_file import EventFile
from ctcycle.runs.mlflow_store.events import Steps, last_steps, send
from ctcycle.runs.refusals import RefusedError, first_line, may_be_gone, refusal

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)
_PARAM_LENGTH, _TAG_LENGTH = 500, 5000
_START_S, _WAIT_S, _END_S, _CREATE_S = 20.0, 2.0, 4.0, 300.0
"""Maximum seconds to wait for the MLflow store: at the start, for each event, at the end, and there if it is new."""
_CONNECTING: defaultdict[str, Lock] = defaultdict(Lock)
"""By URI, held while a client connects: two that create the same store at once would disturb each other."""
_BEING_CREATED: set[str] = set()
"""URIs of the stores that a tracker of this process is creating."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 15.0, 600.0


def tracking_uri(settings: Tracking, folder: Path) -> str:
    """Return the tracking URI: from the config, else the environment, else an SQLite file next to the run folder."""
    return settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri_of(_local_store(folder))


def experiment_name(settings: Tracking) -> str:
    """Return the name of the experiment: from the config, else the environment, else "ctcycle"."""
    return settings.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "ctcycle"


def _local_store(folder: Path) -> Path:
    return folder.resolve().parent / "mlflow.db"


def tracking_uri_of(path: Path) -> str:
    """Return the tracking URI of an SQLite file."""
    if not set("%?") & set(str(path)):  # elsewhere, SQLAlchemy takes the path as it is
        return f"sqlite:///{path}"
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(path)).render_as_string()


def recorded_uri(folder: Path) -> str | None:
    """Return the tracking URI of the run in ``folder``; None if it was not tracked."""
    file = folder / "tracking.json"
    return str(json.loads(file.read_text())["uri"]) if file.exists() else None


def recorded_run(folder: Path, uri: str) -> str | None:
    """Return the ID of the MLflow run of ``folder`` in the store at ``uri``; None if it has none there."""
    file = folder / "tracking.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    return str(known["run_id"]) if known.get("uri") == uri else None


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
        parent: folder of the run that this one is part of, such as a pipeline; it may not be tracked.
    """

    def __init__(
        self, settings: Tracking, folder: Path, name: str, params: Mapping[str, Any], parent: Path | None = None
    ) -> None:
        self.settings, self.folder, self.name, self.params, self.parent = settings, folder, name, params, parent
        self.uri = tracking_uri(settings, folder)
        self.run_id = ""
        self._client: MlflowClient | None = None
        self._logged: Steps = {}
        self._file = folder / "tracking.json"
        self._events = EventFile(folder / "tracking_events.jsonl")
        self._sender: Thread | None = None
        self._pause = 0.0  # seconds until the next retry; 0 while the store responds
        self._next_try = 0.0
        self._remedy = ""  # what to do before MLflow will accept this run; empty if it does, or in an outage
        new = self.uri == tracking_uri_of(_local_store(folder)) and not _local_store(folder).exists()
        self._creating = new or self.uri in _BEING_CREATED

    def start(self) -> None:
        """Open the MLflow run of this folder, or a new one if there is none or it was deleted."""
        self._events.forget(lambda event: "status" in event)  # the run is active again
        if self._creating and self.settings.enabled:
            _BEING_CREATED.add(self.uri)
        self._send(_START_S)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Start the run; close it as finished at the end of the context, or as killed or failed by an error."""
        self.start()
        status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (StoppedError, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            self.finish(status)

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        """Log numbers at ``step``, or after their last step if it is None.

        Steps already logged before the run was interrupted are skipped.
        """
        self._add({"metrics": dict(values), "step": step})

    def artifact(self, path: Path, place: str | None = None) -> None:
        """Log a file to the folder ``place`` of the run's artefacts."""
        self._add({"artifact": os.path.relpath(path, self.folder), "place": place})

    def image(self, path: Path, key: str, step: int) -> None:
        """Log a PNG file as the picture of ``key`` at ``step``, which MLflow shows with a slider over the steps."""
        self._add({"image": os.path.relpath(path, self.folder), "key": key, "step": step})

    def data(self, sets: Sequence[Mapping[str, Any]]) -> None:
        """Log the data sets that the run uses, see `ctcycle.runs.mlflow_store.data_sets`."""
        if sets:
            self._add({"data": [dict(one) for one in sets]})

    def describe(self, text: str) -> None:
        """Set the description that MLflow shows above a run, in Markdown."""
        self.tag("mlflow.note.content", text[:_TAG_LENGTH])

    def tag(self, name: str, text: str) -> None:
        """Set a tag of the run; a later text replaces it."""
        self._add({"tag": name, "text": text})

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Close the run with ``status``."""
        if self.settings.enabled:
            self._events.add({"status": status, "time": _now()})
            self.send_rest(_CREATE_S if self._creating else _END_S)

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
            then = f"{self._remedy}, then run" if self._remedy else "run"
            _log.info(
                "%s: %d events are queued for MLflow; %s the command again to send them", self._events.path, left, then
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
            if self._creating:
                _log.info("MLflow is creating %s, which may take minutes; events are queued meanwhile", self.uri)
                self._wait_longer()
            else:
                self._report(f"no answer within {wait:.3g} s")

    def _deliver(self) -> None:
        done, connected = 0, self._client
        try:
            client = connected
            if client is None:
                with _CONNECTING[self.uri]:
                    client = self._connect()
            for event in self._events.all():
                send(client, self.run_id, self.folder, event, self._logged)
                done += 1
            self._client = client
            if self._pause:
                ready = "is ready" if self._creating else "is reachable again"
                _log.info("MLflow at %s %s; queued events were sent", self.uri, ready)
            self._pause, self._remedy = 0.0, ""
            self._created()
        except Exception as error:  # noqa: BLE001 (training continues whatever MLflow or its server does)
            self._client = None
            self._events.drop(done)
            done = 0
            if connected is not None and may_be_gone(error):
                self._deliver()  # connects again, with a new run if this one was deleted
            else:
                self._fail(error)
        finally:
            self._events.drop(done)

    def _created(self) -> None:
        """Note that the store is not being created any more."""
        self._creating = False
        _BEING_CREATED.discard(self.uri)

    def _fail(self, error: Exception) -> None:
        self._remedy = refusal(error)
        self._created()
        if self._remedy:
            if not self._pause:
                _log.warning(
                    "MLflow at %s refuses this run: %s; training continues, events are queued in %s",
                    *(self.uri, self._remedy, self._events.path),
                )
            self._pause, self._next_try = _LONGEST_PAUSE_S, math.inf
        else:
            self._report(first_line(error))

    def _report(self, reason: str) -> None:
        """Warn once of an outage."""
        if not self._pause:
            _log.warning(
                "MLflow at %s is unavailable (%s); training continues, events are queued in %s",
                *(self.uri, reason, self._events.path),
            )
        self._wait_longer()

    def _wait_longer(self) -> None:
        self._pause = min(max(_FIRST_PAUSE_S, 2 * self._pause), _LONGEST_PAUSE_S)
        self._next_try = time.monotonic() + self._pause

    def _connect(self) -> "MlflowClient":
        client = connect(self.uri)
        here = {"uri": self.uri, "folder": str(self.folder.resolve())}
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        if here.items() <= known.items() and _is_active(client, known["run_id"]):
            self.run_id = known["run_id"]
            client.update_run(self.run_id, status="RUNNING")
            self._logged = last_steps(client, self.run_id)
        else:
            self.run_id, self._logged = self._create(client), {}
            write_json(self._file, {**here, "run_id": self.run_id})
        if self.parent is not None and (parent_id := recorded_run(self.parent, self.uri)):
            client.set_tag(self.run_id, "mlflow.parentRunId", parent_id)
        return client

    def _create(self, client: "MlflowClient") -> str:
        from mlflow.entities import Param

        name = experiment_name(self.settings)
        found = client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise RefusedError(
                f"experiment '{name}' was deleted; restore it (mlflow experiments restore --experiment-id "
                f"{found.experiment_id}) or set another tracking.experiment"
            )
        kind = {"mlflow.experimentKind": "custom_model_development"}  # selects the view that MLflow's UI opens
        experiment = found.experiment_id if found else client.create_experiment(name, artifacts_of(self.uri), kind)
        run = client.create_run(experiment, run_name=self.name, tags=_tags())
        pairs = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in self.params.items()]
        for start in range(0, len(pairs), 100):
            client.log_batch(run.info.run_id, params=pairs[start : start + 100])
        return str(run.info.run_id)


def _tags() -> dict[str, str]:
    """Return the tags of a new run: what MLflow shows as source, and the versions of the software."""
    known = versions()
    commit = known["git_commit"].partition("-")[0]
    shown = {"mlflow.source.name": "ctcycle", "mlflow.source.type": "LOCAL"}
    return {**shown, **({} if commit == "unknown" else {"mlflow.source.git.commit": commit}), **known}


def _is_active(client: "MlflowClient", run_id: str) -> bool:
    """Return whether a run still exists; if not, say that a new one takes its place."""
    from mlflow.exceptions import MlflowException

    try:
        active = client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        active = False
    if not active:
        _log.warning("MLflow run %s was deleted; logging continues in a new run, without earlier steps", run_id)
    return active


def _now() -> int:
    return int(time.time() * 1000)
