"""Read the evaluation results of a run for the model card of its bundle."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctcycle.errors import ConfigError
from ctcycle.evaluation.results import Row


@dataclass(frozen=True)
class Results:
    """The rows of a ``results.json``.

    Attributes:
        rows: the rows of all methods and protocols.
        method: the name of the bundle's run in these rows.
        notes: sentences to print below the tables; they name no patient.
    """

    rows: tuple[Row, ...]
    method: str
    notes: tuple[str, ...]

    @property
    def own(self) -> list[Row]:
        """The rows of the bundle's run."""
        return [row for row in self.rows if row.method == self.method]


def read_results(path: Path, run: Path) -> Results:
    """Read the ``results.json`` of an evaluation.

    Args:
        path: the file.
        run: the run folder to look up.

    Raises:
        ConfigError: the file cannot be read, or holds no results for this run.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(Row(**row) for row in found["rows"])
        runs: dict[str, str] = found["provenance"]["runs"]
        notes: Sequence[str] = found["notes"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"results: {path} is not a results.json of this version of ctcycle; evaluate the run again"
        ) from error
    names = [name for name, folder in runs.items() if Path(folder).resolve() == run.resolve()]
    if not names:
        measured = ", ".join(runs.values()) or "no run"
        raise ConfigError(f"results: {path} has results for {measured}, not for {run}; evaluate the run first")
    return Results(rows, names[0], tuple(_without_patients(note) for note in notes))


def _without_patients(note: str) -> str:
    method, mark, _ = note.partition(": NOT held out")
    return f"{method}{mark}: patients in this table were used to train or select it" if mark else note
