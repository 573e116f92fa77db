"""What every task is given besides its own config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ctcycle.runs.folder import RunFolder


@dataclass(frozen=True)
class Job:
    """One task to run.

    Attributes:
        folder: the run folder, opened.
        resolved: the config as plain data, with all defaults.
        name: shown in MLflow and on progress bars.
    """

    folder: RunFolder
    resolved: Mapping[str, Any]
    name: str
