"""Errors of MLflow that waiting does not cure, each with what to do."""

import re

_CREDENTIALS = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_ADDRESS = "check tracking.uri or MLFLOW_TRACKING_URI"
_REMEDIES = {
    "UNAUTHENTICATED": f"it does not accept the credentials; {_CREDENTIALS}",
    "PERMISSION_DENIED": f"access is denied; ask for permission to write to this experiment, or {_CREDENTIALS}",
    "ENDPOINT_NOT_FOUND": f"there is no MLflow server at this address; {_ADDRESS}",
}
_GONE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "INVALID_PARAMETER_VALUE"}


class RefusedError(Exception):
    """MLflow will not accept this run until somebody changes something; the message says what."""


def refusal(error: Exception) -> str:
    """Return what is wrong and what to do, if waiting does not help; empty if the error may be an outage."""
    if isinstance(error, RefusedError):
        return str(error)
    code = getattr(error, "error_code", "")
    if remedy := _REMEDIES.get(code):
        return remedy
    if code in _GONE:
        return f"{first_line(error)}; {_ADDRESS}" if "URI" in str(error) or "filesystem" in str(error) else ""
    return ""


def may_be_gone(error: Exception) -> bool:
    """Return whether an error may mean that the run or its experiment was deleted."""
    return getattr(error, "error_code", "") in _GONE


def first_line(error: Exception) -> str:
    """Return the first line of the message of an error, or its name if it has none."""
    lines = str(error).strip().splitlines()
    return re.sub(r"\s+", " ", lines[0]) if lines else type(error).__name__
