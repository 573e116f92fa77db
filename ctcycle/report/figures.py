"""Figures of a run: loss curves, slices side by side, PSNR per slice. Each is written atomically, as PNG.

Each is drawn on its own `Figure` object: no pyplot, no global state, no display.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ctcycle.atomic import write_file

DPI = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Palette of Okabe and Ito, which colour-blind readers can also distinguish."""

Curve = Sequence[tuple[int, float]]
"""Steps and values."""

OTHER_LOSSES = "other losses"


@dataclass(frozen=True)
class PanelRow:
    """The images of one slice in the panel figure.

    Attributes:
        label: name of the slice, without patient identity.
        images: title to (H, W) in HU, in the order of the columns, full dose last.
    """

    label: str
    images: Mapping[str, NDArray[np.floating]]


def loss_curves(path: Path, curves: Mapping[str, Curve], groups: Mapping[str, tuple[str, ...]]) -> None:
    """Draw loss against iteration, with one panel per group that has losses.

    Args:
        path: the PNG file.
        curves: the losses by name, such as ``train/gen_cycle_full``; values that are not finite leave gaps.
        groups: panel title to words that select the names for this panel; other names go to "other losses".

    Raises:
        ValueError: there are no curves.
        OutputError: the file cannot be written.
    """
    panels = _grouped(curves, groups)
    if not panels:
        raise ValueError("loss curves: no losses; give at least one")
    figure = Figure(figsize=(8.0, 0.6 + 2.6 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (title, members) in zip(axes, panels.items(), strict=True):
        for (name, curve), colour in zip(members.items(), cycle(COLOURS)):
            _draw_curve(panel, name, curve, colour)
        panel.set(title=title, ylabel="loss")
        panel.grid(alpha=0.3)
        _legend_beside(panel)
    axes[-1].set_xlabel("iteration")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _save(figure, path)


def slice_panels(
    path: Path,
    samples: Sequence[PanelRow],
    hu_window: tuple[float, float] = (-160.0, 240.0),
    difference_hu: float = 100.0,
    reference: str = "full dose",
) -> None:
    """Draw each slice as a row of images in one HU window, with a row of signed differences from the last one below.

    Args:
        path: the PNG file.
        samples: a few slices, all with the same titles; the last image of each is the reference.
        hu_window: lowest and highest HU shown; the default is W400 L40.
        difference_hu: upper end of the colour scale of the differences.
        reference: name of the last image, for the label of the differences.

    Raises:
        ValueError: there are no samples, or their titles differ.
        OutputError: the file cannot be written.
    """
    if not samples or any(list(sample.images) != list(samples[0].images) for sample in samples):
        raise ValueError("slice panels: no samples, or different images; give samples with the same images in order")
    columns, rows = len(samples[0].images), 2 * len(samples)
    height, width = next(iter(samples[0].images.values())).shape
    figure = Figure(figsize=(2.5 * columns + 1.2, 2.5 * rows * height / width + 1.0), layout=_tight())
    axes = figure.subplots(rows, columns, squeeze=False)
    for number, sample in enumerate(samples):
        shown, differences = _draw_sample(axes[2 * number : 2 * number + 2], sample, hu_window, difference_hu)
        axes[2 * number, 0].set_ylabel(sample.label)
        axes[2 * number + 1, 0].set_ylabel(f"minus {reference}")
        figure.colorbar(shown, ax=axes[2 * number].tolist(), label="HU", shrink=0.8, aspect=15, pad=0.01)
        figure.colorbar(differences, ax=axes[2 * number + 1].tolist(), label="HU", shrink=0.8, aspect=15, pad=0.01)
    for panel, title in zip(axes[0], samples[0].images, strict=True):
        panel.set_title(title)
    low, high = hu_window
    figure.supxlabel(
        f"images: window {high - low:g} HU, level {(low + high) / 2:g} HU; differences: ±{difference_hu:g} HU",
        fontsize=10,
    )
    _save(figure, path)


def psnr_by_slice(path: Path, patients: Sequence[str], psnr: Mapping[str, Sequence[float]], protocol: str) -> None:
    """Draw the PSNR of every slice, one line per method, with slices grouped by patient.

    Args:
        path: the PNG file.
        patients: the patient of each slice, as in the manifest.
        psnr: method to dB per slice, in the order of ``patients``; infinite values leave gaps.
        protocol: the protocol of the PSNR, for the title.

    Raises:
        ValueError: the number of values of a method differs from the number of slices.
        OutputError: the file cannot be written.
    """
    order = np.argsort(np.asarray(patients), kind="stable")
    owners = [patients[number] for number in order]
    starts = [number for number, owner in enumerate(owners) if number == 0 or owner != owners[number - 1]]
    figure = Figure(figsize=(10.0, 4.5), layout="constrained")
    panel = figure.subplots()
    for (method, values), colour in zip(psnr.items(), cycle(COLOURS)):
        if len(values) != len(order):
            raise ValueError(f"PSNR by slice: method {method} has {len(values)} values for {len(order)} slices")
        _draw_by_patient(panel, method, np.asarray(values, dtype=np.float64)[order], starts, colour)
    _mark_patients(panel, owners, starts)
    panel.set(xlabel="slice, by patient", ylabel="PSNR (dB)", xlim=(-0.5, len(order) - 0.5))
    panel.set_title(f"PSNR against full dose, protocol {protocol}", pad=8)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(axis="y", alpha=0.3)
    _legend_beside(panel)
    _save(figure, path)


def _tight() -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)


def _grouped(curves: Mapping[str, Curve], groups: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, Curve]]:
    panels: dict[str, dict[str, Curve]] = {title: {} for title in (*groups, OTHER_LOSSES)}
    for name, curve in curves.items():
        title = next((title for title, words in groups.items() if any(word in name for word in words)), OTHER_LOSSES)
        panels[title][name] = curve
    return {title: members for title, members in panels.items() if members}


def _draw_curve(panel: Axes, name: str, curve: Curve, colour: str) -> None:
    steps, values = np.array(curve, dtype=np.float64).reshape(-1, 2).T
    finite = np.where(np.isfinite(values), values, np.nan)
    panel.plot(steps, finite, color=colour, linewidth=1.2, marker="." if len(steps) < 50 else "", label=name)


def _draw_sample(
    axes: NDArray[np.object_], sample: PanelRow, hu_window: tuple[float, float], difference_hu: float
) -> tuple[AxesImage, AxesImage]:
    *_, full = sample.images.values()
    for above, below, image in zip(*axes, sample.images.values(), strict=True):
        shown = above.imshow(image, cmap="gray", vmin=hu_window[0], vmax=hu_window[1], interpolation="nearest")
        limits = {"vmin": -difference_hu, "vmax": difference_hu}
        difference = below.imshow(image - full, cmap="RdBu_r", interpolation="nearest", **limits)
        for panel in (above, below):
            panel.set(xticks=[], yticks=[])
    below.set_visible(False)  # full dose minus itself
    return shown, difference


def _draw_by_patient(panel: Axes, method: str, values: NDArray[np.float64], starts: list[int], colour: str) -> None:
    """Draw one line per patient, since a line across two patients would suggest a trend."""
    finite = np.where(np.isfinite(values), values, np.nan)
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(values)], strict=True)):
        label = method if number == 0 else None
        marker = "." if len(values) <= 100 else ""
        panel.plot(np.arange(start, end), finite[start:end], color=colour, linewidth=1.0, marker=marker, label=label)


def _mark_patients(panel: Axes, owners: Sequence[str], starts: Sequence[int]) -> None:
    for start in starts[1:]:
        panel.axvline(start - 0.5, color="0.6", linewidth=0.8)
    ends = [*starts[1:], len(owners)]
    upper = panel.secondary_xaxis("top")
    upper.set_xticks([(s + e - 1) / 2 for s, e in zip(starts, ends, strict=True)], [owners[s] for s in starts])
    upper.tick_params(length=0, labelsize=8, labelrotation=90 if len(starts) > 8 else 0)


def _legend_beside(panel: Axes) -> None:
    """Place the legend to the right of the axes, where it hides no data."""
    panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, frameon=False, fontsize=9)


def _save(figure: Figure, path: Path) -> None:
    write_file(path, lambda stream: figure.savefig(stream, format="png", dpi=DPI))
