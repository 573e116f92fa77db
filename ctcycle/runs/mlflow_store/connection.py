"""A client of an MLflow store that is quiet, fails fast and reports nothing to anybody."""

import logging
import os
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
