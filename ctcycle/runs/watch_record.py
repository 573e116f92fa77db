"""What the watch of a training found at its end, as the run folder keeps it in ``watch.json``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctcycle.atomic import write_json
from ctcycle.errors import BundleError
from ctcycle.runs.folder import RunFolder


@dataclass(frozen=True)
class WatchRecord:
    """The last measurement of a training.

    Attributes:
        failed: whether the run ended with exit code 5.
        faults: a sentence for each limit of `training.watch` that is exceeded.
        last: measures by name, see `ctcycle.training.monitor.measures.measure`.
        best: scores and epoch of the best checkpoint; empty if there is none.
    """

    failed: bool
    faults: Sequence[str]
    last: Mapping[str, float]
    best: Mapping[str, float]

    @property
    def sentence(self) -> str:
        """One sentence for the model card, the report and MLflow: the faults, or what was measured."""
        if not self.faults:
            found = ", ".join([*_measures(self.last), "all within the limits of training.watch"])
            return f"Measured at the end of training, without pairs: {found}."
        kept = f"; the best checkpoint is of epoch {self.best['epoch']:g}" if "epoch" in self.best else ""
        return f"Measured at the end of training, without pairs: {'; '.join(self.faults)}{kept}."

    def write(self, run: Path) -> None:
        """Write the record to a run folder.

        Raises:
            OutputError: it cannot be written.
        """
        write_json(RunFolder(run).watch, vars(self))


def read_watch(run: Path) -> WatchRecord | None:
    """Return the record of a run; None if its training was not watched.

    Raises:
        BundleError: the file is damaged.
    """
    path = RunFolder(run).watch
    if not path.exists():
        return None
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return WatchRecord(known["failed"], known["faults"], known.get("last", {}), known["best"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: damaged; delete it, or train again") from error


def _measures(found: Mapping[str, float]) -> Iterator[str]:
    texts = {
        "removed": "{:.0%} of the noise that low dose has beyond full dose is removed",
        "contrast": "{:.0%} of the contrast of inserted 3 mm discs is kept",
        "shift_soft_hu": "soft tissue shifts by {:+.1f} HU",
    }
    yield from (text.format(found[name]) for name, text in texts.items() if name in found)
