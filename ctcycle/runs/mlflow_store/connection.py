"""A client of an MLflow store that is quiet, fails fast and reports nothing to anybody."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "GIT_PYTHON_REFRESH": "quiet",
}
_STORE = "MLFLOW_TRACKING_URI"


def prepare_mlflow() -> None:
    """Set MLflow's environment where the user has not, and silence its loggers."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    for name in ("mlflow", "alembic"):  # mlflow reads the environment only on import, which may have happened
        logging.getLogger(name).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # it logs every error that it also raises


def connect(uri: str) -> "MlflowClient":
    """Return a client of the store, which is not contacted yet."""
    prepare_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def artifacts_of(uri: str) -> str | None:
    """Return where the artefacts of a new experiment go: beside an SQLite file; None if the server decides."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    return (Path(make_url(uri).database or "").resolve().parent / "mlartifacts").as_uri()


@contextmanager
def default_store(uri: str) -> Iterator[None]:
    """Make a store MLflow's default inside the context; some of its calls ask the default store, not the client's."""
    prepare_mlflow()
    from mlflow import get_tracking_uri, set_tracking_uri

    given = os.environ.get(_STORE)
    os.environ[_STORE] = uri
    before = get_tracking_uri()  # differs from the environment if `set_tracking_uri` was called
    if before != uri:
        set_tracking_uri(uri)
    try:
        yield
    finally:
        if before != uri:
            set_tracking_uri(before)
        os.environ.pop(_STORE)
        if given is not None:
            os.environ[_STORE] = given
