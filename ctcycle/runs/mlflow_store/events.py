"""Sends the events of a run to MLflow: metrics, images, data sets, artefacts, tags and the final status."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

Steps = dict[str, int]
"""The last step that was logged, by metric, and by key with the prefix ``images/`` for images."""

_IMAGE = re.compile(r"images/(?P<key>[^+%]+)[+%]step[+%](?P<step>\d+)[+%]")


def send(client: "MlflowClient", run_id: str, folder: Path, event: Mapping[str, Any], logged: Steps) -> None:
    """Send one event; steps that were logged before are skipped.

    Args:
        client: the client of the store.
        run_id: the MLflow run.
        folder: the run folder, to which the paths of files are relative.
        event: an event of `ctcycle.runs.tracking.Tracker`.
        logged: updated with the steps of this event.
    """
    kind = next(name for name in _SENDERS if name in event)
    _SENDERS[kind](client, run_id, folder, event, logged)


def last_steps(client: "MlflowClient", run_id: str) -> Steps:
    """Return the last logged step of each metric and image; a killed run may have logged past its checkpoint."""
    keys = client.get_run(run_id).data.metrics
    found = {key: max(metric.step for metric in client.get_metric_history(run_id, key)) for key in keys}
    for item in client.list_artifacts(run_id, "images"):
        if match := _IMAGE.match(item.path):
            name = f"images/{match['key']}"
            found[name] = max(found.get(name, -1), int(match["step"]))
    return found


def _metrics(client: "MlflowClient", run_id: str, _folder: Path, event: Mapping[str, Any], logged: Steps) -> None:
    from mlflow.entities import Metric

    step = event["step"]
    if step is None:
        step = 1 + max((logged.get(key, -1) for key in event["metrics"]), default=-1)
    new = {key: value for key, value in event["metrics"].items() if step > logged.get(key, -1)}
    client.log_batch(run_id, [Metric(key, value, event["time"], step) for key, value in new.items()])
    logged |= dict.fromkeys(new, step)


def _artifact(client: "MlflowClient", run_id: str, folder: Path, event: Mapping[str, Any], _logged: Steps) -> None:
    file = folder / event["artifact"]
    if file.is_file():  # it may have been removed in the meantime
        client.log_artifact(run_id, str(file), event["place"])


def _image(client: "MlflowClient", run_id: str, folder: Path, event: Mapping[str, Any], logged: Steps) -> None:
    from PIL import Image

    file, name = folder / event["image"], f"images/{event['key']}"
    if file.exists() and event["step"] > logged.get(name, -1):
        try:
            with Image.open(file) as picture:
                image = picture.convert("RGB")
        except OSError:  # damaged in the meantime; it must not hold up the events behind it
            return
        client.log_image(run_id, image, key=event["key"], step=event["step"], timestamp=event["time"], synchronous=True)
        logged[name] = event["step"]


def _data(client: "MlflowClient", run_id: str, _folder: Path, event: Mapping[str, Any], _logged: Steps) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(one["name"], one["digest"], "local", one["source"], profile=one["profile"]),
            [InputTag("mlflow.data.context", one["context"])],
        )
        for one in event["data"]
    ]
    client.log_inputs(run_id, inputs)


def _tag(client: "MlflowClient", run_id: str, _folder: Path, event: Mapping[str, Any], _logged: Steps) -> None:
    client.set_tag(run_id, event["tag"], event["text"])


def _status(client: "MlflowClient", run_id: str, _folder: Path, event: Mapping[str, Any], _logged: Steps) -> None:
    client.set_terminated(run_id, event["status"], event["time"])


_Sender = Callable[["MlflowClient", str, Path, Mapping[str, Any], Steps], None]
_SENDERS: dict[str, _Sender] = {
    "metrics": _metrics,
    "artifact": _artifact,
    "image": _image,
    "data": _data,
    "tag": _tag,
    "status": _status,
}
