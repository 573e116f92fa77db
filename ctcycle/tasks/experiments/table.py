"""The results of a sweep: a table as text and CSV, and a plot of the score against each varied key."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctcycle.atomic import write_text
from ctcycle.report.sweeps import Point, score_plot
from ctcycle.tasks.experiments.trials import Trial, Values, best_trial


def named(values: Values) -> str:
    """Return the values of a trial as text, with keys as short as they are clear."""
    short = {key: key.rpartition(".")[2] for key in values}
    clear = {key: name if list(short.values()).count(name) == 1 else key for key, name in short.items()}
    return ", ".join(f"{clear[key]}={shown(value)}" for key, value in values.items())


def shown(value: Any) -> str:
    """Return a value for readers: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_trials(trials: Sequence[Trial], keys: Sequence[str]) -> str:
    """Return an aligned table for the terminal, the best trial first."""
    rows = [_header(trials, keys), *(_row(trial, keys, shown) for trial in _ranked(trials))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def write_tables(out: Path, trials: Sequence[Trial], keys: Sequence[str]) -> list[Path]:
    """Write ``trials.csv``, ``trials.txt`` and, if a trial has a score, ``trials.png``; return their paths.

    Raises:
        OutputError: a file cannot be written.
    """
    stream = io.StringIO(newline="")
    table = csv.writer(stream, lineterminator="\n")
    table.writerow([*_header(trials, keys), "reason"])
    table.writerows([*_row(trial, keys, str), trial.reason] for trial in trials)
    paths = [out / "trials.csv", out / "trials.txt"]
    write_text(paths[0], stream.getvalue())
    write_text(paths[1], format_trials(trials, keys) + "\n")
    best = best_trial(trials)
    if best is not None:
        paths.append(out / "trials.png")
        points = [
            Point(trial.values, trial.score, trial.state == "finished", trial is best)
            for trial in trials
            if trial.score is not None and trial.key == best.key
        ]
        score_plot(paths[-1], points, keys, best.key)
    return paths


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    order = {"finished": 0, "pruned": 1, "failed": 2, "begun": 3}
    return sorted(trials, key=lambda trial: (order[trial.state], -(trial.merit or 0.0), trial.number))


def _header(trials: Sequence[Trial], keys: Sequence[str]) -> list[str]:
    score = next((trial.key for trial in trials if trial.key), "score")
    return ["trial", "state", score, "epoch", *keys]


def _row(trial: Trial, keys: Sequence[str], text: Any) -> list[str]:
    score = "" if trial.score is None else text(trial.score)
    epoch = "" if trial.epoch is None else str(trial.epoch)
    return [str(trial.number), trial.state, score, epoch, *(text(trial.values[key]) for key in keys)]
