"""Models that are named by an MLflow URI: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``runs:/RUN_ID``."""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml

from ctcycle.config.shipped import located
from ctcycle.errors import BundleError, CtcycleError, printable
from ctcycle.runs.bundle_folder import is_bundle
from ctcycle.runs.mlflow_store.connection import connect, default_store
from ctcycle.runs.refusals import first_line
from ctcycle.runs.tracking import recorded_run, tracking_uri_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SCHEME = re.compile(r"(models|runs):/")
_MODEL = re.compile(r"models:/[^/@]+(@[\w-]+|/\d+)?")
_RUN = re.compile(r"runs:/(?P<run>[0-9a-f]{32})")
_T = TypeVar("_T")


def is_model_uri(path: Path | str) -> bool:
    """Return whether a path is the URI of an MLflow model or run."""
    return _SCHEME.match(str(path)) is not None


def local_model(path: Path) -> Path:
    """Return the folder of a model: of an MLflow URI as `model_folder`, else as `ctcycle.config.shipped.located`.

    Raises:
        BundleError: as for `model_folder`.
    """
    return model_folder(path) if is_model_uri(path) else located(path)


def model_folder(uri: Path | str, near: Path | None = None) -> Path:
    """Return the local bundle folder or run folder of an MLflow URI; what is not local is downloaded until the end.

    Args:
        uri: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION``, ``models:/MODEL_ID`` or ``runs:/RUN_ID``.
        near: the output folder, next to which a store may be.

    Raises:
        BundleError: the URI has another form, there is no store, or it has no such model of ctcycle.
    """
    name = str(uri)
    if _MODEL.fullmatch(name):
        return _asked(name, near, lambda _client, store: _model(store, name))
    if match := _RUN.fullmatch(name):
        return _asked(name, near, lambda client, store: _run(client, store, match["run"]))
    raise BundleError(
        f"{printable(name)}: not an MLflow model; use models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID"
    )


def run_folder(uri: Path | str, near: Path | None = None) -> Path:
    """Return the run folder of an MLflow URI; of a model, that of the run that made it.

    Args:
        uri: as for `model_folder`.
        near: likewise.

    Raises:
        BundleError: as for `model_folder`; or the run of the model is unknown.
    """
    name = str(uri)
    if not _MODEL.fullmatch(name):
        return model_folder(uri, near)
    return _asked(name, near, lambda client, store: _run(client, store, _run_of(client, name)))


def find_store(near: Path | None = None) -> str | None:
    """Return the tracking URI for models: from the environment, or of an ``mlflow.db`` next to ``near`` or in runs."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    places = [*([near.resolve().parent] if near is not None else []), Path("runs"), Path()]
    return next((tracking_uri_of(place / "mlflow.db") for place in places if (place / "mlflow.db").is_file()), None)


def _asked(name: str, near: Path | None, ask: Callable[["MlflowClient", str], _T]) -> _T:
    store = find_store(near)
    if store is None:
        raise BundleError(
            f"{name}: no MLflow store found; set MLFLOW_TRACKING_URI, for example to sqlite:///runs/mlflow.db"
        )
    try:
        with default_store(store):
            return ask(connect(store), store)
    except CtcycleError:
        raise
    except Exception as error:  # MLflow and its servers can raise almost anything
        raise BundleError(
            f"{name}: not available from MLflow at {store} ({first_line(error)}); check the name and "
            "MLFLOW_TRACKING_URI"
        ) from error


def _model(store: str, name: str) -> Path:
    from mlflow.artifacts import download_artifacts

    folder = Path(download_artifacts(name, dst_path=str(_temporary()), tracking_uri=store, registry_uri=store))
    try:
        flavor = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
        data = folder / str(flavor["data"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        data = folder
    if not data.resolve().is_relative_to(folder.resolve()) or not is_bundle(data):
        raise BundleError(f"{name}: not a model of ctcycle; register one with the task register")
    return data


def _run_of(client: "MlflowClient", name: str) -> str:
    given = name.removeprefix("models:/")
    if "@" in given:
        made = client.get_model_version_by_alias(*given.split("@")).run_id
    elif "/" in given:
        made = client.get_model_version(*given.split("/")).run_id
    else:
        made = client.get_logged_model(given).source_run_id
    if not made:
        raise BundleError(f"{name}: was registered without the run that made it; choose the run folder")
    return str(made)


def _run(client: "MlflowClient", store: str, run_id: str) -> Path:
    """Return the folder of a run if it is on this machine; else a copy from the artefacts of the run."""
    run = client.get_run(run_id)
    local = Path(run.data.params.get("out", ""))
    if recorded_run(local, store) == run_id:
        return local
    folder = _temporary() / (re.sub(r"[^\w .-]", "_", run.info.run_name or "") or "run")
    (folder / "checkpoints").mkdir(parents=True)
    for item in client.list_artifacts(run_id):
        if item.path in {"config.yaml", "manifest.csv", "fingerprint.json", "watch.json"}:
            client.download_artifacts(run_id, item.path, str(folder))
    for item in client.list_artifacts(run_id, "model"):
        file = Path(client.download_artifacts(run_id, item.path, str(folder)))
        shutil.move(file, folder / "checkpoints" / file.name)
    if not any((folder / "checkpoints").iterdir()):
        raise BundleError(f"runs:/{run_id}: is no finished training run of ctcycle; choose another run")
    return folder


def _temporary() -> Path:
    """Return a new folder that is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="ctcycle_mlflow_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
