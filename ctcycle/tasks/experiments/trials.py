"""The trials of a sweep: what was tried, what came out, and the file that keeps it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ctcycle.atomic import write_json
from ctcycle.errors import OutputError
from ctcycle.runs.folder import RunFolder

ScoreKey = Literal["val/psnr", "watch/penalty"]
State = Literal["begun", "finished", "pruned", "failed"]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        number: from 1.
        values: the values of the varied keys.
        state: begun, and not ended yet; finished; pruned, ended early; or failed.
        key: the score by which it is compared; empty if it has none.
        curve: the score by epoch.
        kept: whether the best or the last epoch counts, as the run's ``training.keep``.
        reason: why it failed or was ended.
    """

    number: int
    values: Values
    state: State = "begun"
    key: str = ""
    curve: Mapping[int, float] = field(default_factory=dict)
    kept: Literal["best", "last"] = "best"
    reason: str = ""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"trial_{self.number:03d}"

    @property
    def epoch(self) -> int | None:
        """The epoch whose score counts; None without scores."""
        if not self.curve:
            return None
        return max(self.curve) if self.kept == "last" else max(self.curve, key=self.merit_at)

    @property
    def score(self) -> float | None:
        """The score that counts; None without scores."""
        return None if self.epoch is None else self.curve[self.epoch]

    def merit_at(self, epoch: int) -> float:
        """Return the score of an epoch, so that higher is better."""
        return self.curve[epoch] if self.key == "val/psnr" else -self.curve[epoch]

    @property
    def merit(self) -> float | None:
        """The score that counts, so that higher is better; None without scores."""
        return None if self.epoch is None else self.merit_at(self.epoch)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the finished trial with the best score; None if there is none."""
    finished = [one for one in trials if one.state == "finished" and one.merit is not None]
    return max(finished, key=lambda one: one.merit or 0.0, default=None)


def read_curve(run: Path, wanted: str) -> tuple[str, dict[int, float]]:
    """Return the score of a training run by epoch, and its key.

    Args:
        run: the run folder.
        wanted: a key, or "auto": val/psnr if the run has it, else watch/penalty.
    """
    records = RunFolder(run).read_metrics()
    keys = ("val/psnr", "watch/penalty") if wanted == "auto" else (wanted,)
    key = next((key for key in keys if any(key in record for record in records)), "")
    return key, {int(record["epoch"]): record[key] for record in records if key in record}


class TrialFile:
    """The trials of a sweep, in the order of their numbers, kept in a JSON file.

    Args:
        path: the file; it may not exist yet.

    Raises:
        OutputError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._trials = {trial.number: trial for trial in _read(path)}

    @property
    def trials(self) -> list[Trial]:
        """All trials so far."""
        return [self._trials[number] for number in sorted(self._trials)]

    def get(self, number: int) -> Trial | None:
        """Return a trial; None if it was not begun."""
        return self._trials.get(number)

    def save(self, trial: Trial) -> None:
        """Add or replace a trial, and write the file.

        Raises:
            OutputError: the file cannot be written.
        """
        self._trials[trial.number] = trial
        write_json(self.path, [asdict(one) for one in self.trials])


def _read(path: Path) -> list[Trial]:
    if not path.exists():
        return []
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return [Trial(**{**one, "curve": {int(e): float(s) for e, s in one["curve"].items()}}) for one in known]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path}: damaged; restore it, or choose another `out`") from error
