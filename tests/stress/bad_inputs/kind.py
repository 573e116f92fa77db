"""A kind of bad input: how to make it, and what is promised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Task = Literal["denoise", "scan", "train", "train supervised", "evaluate", "config"]
Outcome = Literal["done", "left out", "refused"]


@dataclass(frozen=True)
class Place:
    """Where a kind is made.

    Attributes:
        folder: empty; all that is made goes here.
        data: a good data set, not to be changed: the folder of its manifest.
        run: a good training run, not to be changed.
    """

    folder: Path
    data: Path
    run: Path


@dataclass(frozen=True)
class Kind:
    """A row of the table.

    Attributes:
        name: what is wrong, or only odd.
        task: what it is given to.
        outcome: ``done``: it is taken; ``left out``: it is something else, which is no failure; ``refused``.
        says: a piece of what is said about it: in the last line, in the log, or in the list of what was left out.
        make: makes it, in a folder beside a good series where it is to be denoised, and gives the command line's values
            that name it.
        exit_code: of the command.
        alone: no good series lies beside it, for denoising.
    """

    name: str
    task: Task
    outcome: Outcome
    says: str
    make: Callable[[Place], list[str]]
    exit_code: int
    alone: bool = False


EXIT_CODES: dict[Outcome, int] = {"done": 0, "left out": 0, "refused": 3}


def table(kinds: Sequence[Kind]) -> str:
    """The kinds as Markdown."""
    lines = [
        "# Bad and odd inputs",
        "",
        "One row for each kind that the tests make. *done*: it is taken as it is. *left out*: it is no CT, which is no",
        "failure; it is counted and listed. *refused*: in one sentence, with that exit code; whatever else there is to",
        "do is done, and nothing half made is left. This file is written by `python tests/stress/test_bad_inputs.py`.",
        "",
        "| given to | kind | outcome | exit code | it says |",
        "| --- | --- | --- | ---: | --- |",
        *(f"| {kind.task} | {kind.name} | {kind.outcome} | {kind.exit_code} | {_cell(kind.says)} |" for kind in kinds),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return f"`{text}`" if text else ""
