"""The run folder and names that every task gets in addition to its config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctcycle.runs.folder import RunFolder


@dataclass(frozen=True)
class Job:
    """One task to run.

    Attributes:
        folder: the opened run folder.
        resolved: the config as plain data, with all defaults.
        name: the run name shown in MLflow and on progress bars.
    """

    folder: RunFolder
    resolved: Mapping[str, Any]
    name: str
