"""The plot of a sweep: score against the values of each key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ctcycle.atomic import write_file
from ctcycle.report.figures import COLOURS, DPI

_LOG_RATIO = 20.0
_OUTLIER = 500.0
"""A penalty of 1000 marks a denoiser beyond a limit of training.watch; it would flatten all others."""


@dataclass(frozen=True)
class Point:
    """One trial.

    Attributes:
        values: the values of the varied keys.
        score: its score.
        finished: whether it was trained to the end.
        best: whether it is the best of all.
    """

    values: Mapping[str, Any]
    score: float
    finished: bool
    best: bool


def score_plot(path: Path, points: Sequence[Point], keys: Sequence[str], score: str) -> None:
    """Draw the score against each key, one panel per key; trials that were ended early are hollow.

    Args:
        path: the PNG file.
        points: the trials that have a score.
        keys: the varied keys.
        score: the name of the score.

    Raises:
        ValueError: there are no points.
        OutputError: the file cannot be written.
    """
    if not points:
        raise ValueError("score plot: no points; give at least one")
    inside = [point for point in points if point.score < _OUTLIER or score == "val/psnr"] or list(points)
    figure = Figure(figsize=(1.2 + 3.2 * len(keys), 3.4), layout="constrained")
    axes = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
    for panel, key in zip(axes, keys, strict=True):
        _draw(panel, inside, key)
    axes[0].set_ylabel(score)
    beyond = len(points) - len(inside)
    figure.suptitle(f"not shown: {beyond} beyond a limit of training.watch" if beyond else "", fontsize=9)
    write_file(path, lambda stream: figure.savefig(stream, format="png", dpi=DPI))


def _draw(panel: Axes, points: Sequence[Point], key: str) -> None:
    values = [point.values[key] for point in points]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        places = np.asarray(values, dtype=np.float64)
        if places.min() > 0 and places.max() > _LOG_RATIO * places.min():
            panel.set_xscale("log")
    else:
        names = sorted({str(value) for value in values})
        places = np.asarray([names.index(str(value)) for value in values], dtype=np.float64)
        panel.set_xticks(range(len(names)), names)
    for place, point in zip(places, points, strict=True):
        colour = COLOURS[1] if point.best else COLOURS[0]
        face = colour if point.finished else "none"
        panel.plot(place, point.score, "o", color=colour, markerfacecolor=face, label="best" if point.best else None)
    panel.set_xlabel(key)
    panel.grid(alpha=0.3)
    if any(point.best for point in points):
        panel.legend(frameon=False, fontsize=9)
