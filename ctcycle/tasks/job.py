"""The run folder and names that every task gets in addition to its config."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctcycle.runs.folder import RunFolder

if TYPE_CHECKING:
    from ignite.engine import Engine


@dataclass(frozen=True)
class Job:
    """One task to run.

    Attributes:
        folder: the opened run folder.
        resolved: the config as plain data, with all defaults.
        name: the run name shown in MLflow and on progress bars.
        resumed: whether an earlier run of the same config began the folder and did not finish it.
        parent: folder of the pipeline or sweep that the task is part of; None if it is not.
        observe: attached to the trainer of a training, see `ctcycle.training.trainer.TrainingRun`.
    """

    folder: RunFolder
    resolved: Mapping[str, Any]
    name: str
    resumed: bool = False
    parent: Path | None = None
    observe: "Callable[[Engine], None] | None" = None
