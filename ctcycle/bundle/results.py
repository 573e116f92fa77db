"""What an evaluation found of a run, for the model card of its bundle."""

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
        rows: of all methods and protocols.
        method: the name that the bundle's run has among them.
        notes: sentences that belong beside the tables; no patient is named in them.
    """

    rows: tuple[Row, ...]
    method: str
    notes: tuple[str, ...]

    @property
    def own(self) -> list[Row]:
        """The rows of the bundle's run."""
        return [row for row in self.rows if row.method == self.method]


def read_results(path: Path, run: Path) -> Results:
    """Reads the ``results.json`` of an evaluation.

    Args:
        path: the file.
        run: the run folder whose rows are looked for.

    Raises:
        ConfigError: the file cannot be read, or does not measure this run.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(Row(**row) for row in found["rows"])
        runs: dict[str, str] = found["provenance"]["runs"]
        notes: Sequence[str] = found["notes"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"results: {path} is no results.json of an evaluation of this version") from error
    names = [name for name, place in runs.items() if Path(place).resolve() == run.resolve()]
    if not names:
        measured = ", ".join(runs.values()) or "no run"
        raise ConfigError(f"results: {path} does not measure {run} but {measured}; evaluate the run first")
    return Results(rows, names[0], tuple(_without_patients(note) for note in notes))


def _without_patients(note: str) -> str:
    method, mark, _ = note.partition(": NOT held out")
    return f"{method}{mark}: it was trained on, or chosen by, patients of this table" if mark else note
