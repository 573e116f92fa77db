"""Plots for a report, as PNG in memory: lines, points with limits, dots by group, curves with marked moments."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ctcycle.report.figures import COLOURS

DPI = 130
WIDTH = 5.0
"""Inches; narrow, so that texts of 10 pt still have 10 px on a phone."""

SHORT_LABEL = 24
"""Characters; with longer labels, a legend has one column."""

STYLES = ("-", "--", ":", "-.")
MARKERS = "osD^vP*X"


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Attributes:
        label: name in the legend.
        x: in ascending order.
        y: as many values.
        thick: whether it is drawn as the reference, black and thick.
        look: number of its colour, style and marker; the same number looks the same in every plot.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    thick: bool = False
    look: int | None = None


@dataclass(frozen=True)
class Point:
    """One point of a plot, with the ends of its intervals, if any; ``look`` as in `Line`."""

    label: str
    x: float
    y: float
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None
    look: int | None = None


def line_plot(lines: Sequence[Line], x_label: str, y_label: str, limits: Sequence[float] = ()) -> bytes:
    """Return a plot of lines as PNG; ``limits`` are drawn as thin horizontal lines."""
    figure, axes = _figure(4.3)
    for number, line in enumerate(lines):
        colour, style, marker = _look(number if line.look is None else line.look)
        look = {"color": "black", "linewidth": 2.4} if line.thick else {"color": colour, "linestyle": style}
        axes.plot(line.x, line.y, label=line.label, marker=marker if len(line.x) < 9 else "", markersize=5, **look)
    for limit in limits:
        axes.axhline(limit, color="0.5", linewidth=0.8)
    return _finished(figure, axes, x_label, y_label)


def point_plot(
    points: Sequence[Point], x_label: str, y_label: str, x_limit: float | None = None, y_limit: float | None = None
) -> bytes:
    """Return a plot of points as PNG, with their intervals, and with the region below both limits shaded."""
    figure, axes = _figure(4.4)
    for number, point in enumerate(points):
        colour, _, marker = _look(number if point.look is None else point.look)
        errors = [_error(middle, ends) for middle, ends in ((point.x, point.x_ends), (point.y, point.y_ends))]
        look = {"color": colour, "markersize": 8, "capsize": 3, "linestyle": "none"}
        axes.errorbar([point.x], [point.y], errors[1], errors[0], marker=marker, label=point.label, **look)  # type: ignore[arg-type]
    axes.margins(0.12)
    if x_limit is not None and y_limit is not None:
        left, bottom = min(axes.get_xlim()[0], 0.0), min(axes.get_ylim()[0], 0.98 * y_limit)
        axes.fill_between([left, x_limit], bottom, y_limit, color="#14612f", alpha=0.1, linewidth=0)
        axes.axvline(x_limit, color="0.5", linewidth=0.8)
        axes.axhline(y_limit, color="0.5", linewidth=0.8)
        axes.set(xlim=(left, None), ylim=(bottom, None))
    return _finished(figure, axes, x_label, y_label)


def dot_plot(groups: Mapping[str, Sequence[float]], x_label: str) -> bytes:
    """Return one row of dots for each group as PNG, with the mean as a bar and 0 as a line."""
    figure, axes = _figure(1.2 + 0.45 * len(groups))
    for row, ((_, values), colour) in enumerate(zip(groups.items(), cycle(COLOURS), strict=False)):
        axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.7, markersize=6, markeredgecolor="white")
        if values:
            axes.plot([sum(values) / len(values)] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=2.5)
    axes.axvline(0.0, color="0.4", linewidth=1.0)
    axes.set_yticks(range(len(groups)), [_plain(name) for name in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    return _finished(figure, axes, x_label, "", legend=False)


def curve_plot(
    panels: Mapping[str, Sequence[Line]], x_label: str, moments: Mapping[str, float], y_label: str = "loss"
) -> bytes:
    """Return panels of curves over the same axis as PNG, with vertical lines at named moments."""
    figure = Figure(figsize=(WIDTH, 0.8 + 2.6 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, (title, lines)) in enumerate(zip(rows, panels.items(), strict=True)):
        for place, line in enumerate(lines):
            colour, style, _ = _look(place)
            marker = "." if len(line.x) < 50 else ""
            axes.plot(line.x, line.y, label=_plain(line.label), color=colour, linestyle=style, marker=marker)
        for step, (name, moment) in enumerate(moments.items()):
            axes.axvline(moment, color="0.35", linewidth=1.0, linestyle="--")
            if number == 0:
                spot = {
                    "xycoords": ("data", "axes fraction"),
                    "fontsize": 8,
                    "bbox": {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.0},
                    "rotation": 90,
                    "va": "top",
                    "ha": "right",
                }
                axes.annotate(name, (moment, 0.97 - 0.02 * (step % 2)), **spot)
        axes.set_title(title, fontsize=10)
        axes.set_ylabel(y_label if title != "validation" else "PSNR (dB)")
        axes.grid(alpha=0.3)
        _legend(axes, 0.5 if axes is rows[-1] else 0.15)
    rows[-1].set_xlabel(x_label)
    return _png(figure)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _look(number: int) -> tuple[str, str, str]:
    count = len(COLOURS) - 1  # black is the reference's
    return COLOURS[number % count], STYLES[number // count % len(STYLES)], MARKERS[number % len(MARKERS)]


def _error(middle: float, ends: tuple[float, float] | None) -> list[list[float]] | None:
    if ends is None:
        return None
    return [[max(0.0, middle - ends[0])], [max(0.0, ends[1] - middle)]]


def _finished(figure: Figure, axes: Axes, x_label: str, y_label: str, *, legend: bool = True) -> bytes:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    if legend:
        _legend(axes)
    return _png(figure)


def _legend(axes: Axes, below: float = 0.5) -> None:
    """Put the legend ``below`` inches under the axes, whatever their height, so that it hides no labels."""
    labels, figure = axes.get_legend_handles_labels()[1], axes.get_figure(root=True)
    if not labels or figure is None:
        return
    lowered = axes.transAxes + ScaledTranslation(0.0, -below, figure.dpi_scale_trans)
    legend = axes.legend(
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=lowered,
        borderaxespad=0.0,
        frameon=False,
        fontsize=10,
        ncols=2 if max(map(len, labels)) <= SHORT_LABEL else 1,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _plain(name: str) -> str:
    """Return a name in which no dollar sign starts a formula, and which matplotlib's legend does not hide."""
    return name.replace("$", r"\$").lstrip("_")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()
