"""Plots and pictures of the report."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Curve, Finding
from ctcycle.evaluation.page.content import Panel, ReportContent, TrainingCurves
from ctcycle.evaluation.page.regions import body_region, busiest_region
from ctcycle.evaluation.verdict.lookup import FULL_DOSE, Figures
from ctcycle.report.document import Block, Grid, Plot
from ctcycle.report.figures import COLOURS
from ctcycle.report.pixels import grey_png, signed_png
from ctcycle.report.plots import Line, Point, curve_plot, dot_plot, line_plot, point_plot

WINDOWS = {"soft tissue": (-160.0, 240.0), "lung": (-1350.0, 150.0), "bone": (-550.0, 1450.0)}
DIFFERENCE_HU = 100.0
ZOOM_PX = 96
MAX_PICTURE_BYTES = 1_500_000
"""Pictures of a section beyond this are left out, so that the file stays below 5 MB; base64 adds a third."""

_BY_WORTH = ("soft_tissue", "magnified", "differences")

PLOTS = {
    "insertion_contrast": ("Contrast kept against lesion size", "lesion radius (mm)", "contrast kept"),
    "insertion_profile": ("Profile of an inserted lesion", "distance from its centre (mm)", "response"),
    "nps": ("Noise power spectrum", "spatial frequency (cycles/px)", "noise power (HU² mm²)"),
    "ttf": ("Task transfer function", "spatial frequency (cycles/px)", "share of contrast"),
}


def trade_off(content: ReportContent, findings: Sequence[Finding]) -> list[Block]:
    """Return the plot of error over floor against texture distance."""
    points = []
    for number, method in enumerate(content.methods):
        figures = Figures(method.name, findings)
        x, y = figures.find("texture_distance"), figures.find("error_over_floor")
        if x and y and x.value is not None and y.value is not None:
            points.append(Point(method.title, x.value, y.value, _ends(x), _ends(y), number))
    if not points:
        return []
    said = "; ".join(f"{point.label}: {point.y:.2f} at {point.x:.2f}" for point in points)
    png = point_plot(points, "texture distance to full dose", "error over its floor", 0.1, 1.05)
    caption = "Error over its floor against texture distance. Shaded: both are good. Bars: 95 % intervals."
    return [Plot(png, "error_and_texture", caption, f"{caption} {said}.")]


def curves(content: ReportContent, plots: Sequence[str]) -> list[Block]:
    """Return those of the named plots that have curves, by bench."""
    blocks: list[Block] = []
    for plot in plots:
        for bench in dict.fromkeys(curve.bench for curve in content.curves if curve.plot == plot):
            found = _once([curve for curve in content.curves if (curve.plot, curve.bench) == (plot, bench)])
            looks = _looks(content, [curve.label for curve in found])
            lines = [
                Line(_label(content, c), c.x, c.y, c.method == FULL_DOSE, looks.get((c.method, c.label))) for c in found
            ]
            title, x_label, y_label = PLOTS.get(plot, (plot.replace("_", " "), "x", "y"))
            if bench == "physics":
                x_label = x_label.replace("cycles/px", "cycles/mm")
            caption = f"{title} ({bench} bench)."
            alt = f"{caption} Lines: {'; '.join(line.label for line in lines)}."
            blocks.append(Plot(line_plot(lines, x_label, y_label), f"{plot}_{bench}", caption, alt))
    return blocks


def _once(curves: Sequence[Curve]) -> list[Curve]:
    """Return the first curve of each method and label: every study brings the references along."""
    return list({(curve.method, curve.label): curve for curve in reversed(curves)}.values())[::-1]


def _label(content: ReportContent, curve: Curve) -> str:
    return ", ".join(filter(None, (content.title_of(curve.method), curve.label)))


def _looks(content: ReportContent, labels: Sequence[str]) -> dict[tuple[str, str], int]:
    """Give each method its colour, the same in every plot, and each further label another line style."""
    names, styles = [item.name for item in content.methods], list(dict.fromkeys(labels))
    step = (len(COLOURS) - 1) * (1 + (len(names) - 1) // (len(COLOURS) - 1))
    return {(name, label): n + step * s for n, name in enumerate(names) for s, label in enumerate(styles)}


def patients(content: ReportContent) -> list[Block]:
    """Return a dot plot for each measure of the contrasts."""
    blocks: list[Block] = []
    for number, measure in enumerate(dict.fromkeys(item.measure for item in content.contrasts)):
        found = [item for item in content.contrasts if item.measure == measure]
        groups = {content.title_of(item.method): list(item.by_patient.values()) for item in found}
        against = ", ".join(dict.fromkeys(content.title_of(item.against) for item in found))
        caption = f"{measure}: each method minus the best classical filter ({against}). One dot a patient; bar: mean."
        blocks.append(Plot(dot_plot(groups, f"difference in {measure}"), f"patients_{number + 1}", caption, caption))
    return blocks


def training(content: ReportContent) -> list[Block]:
    """Return the loss and validation curves of each run, with its phases marked."""
    return [
        _training(content.title_of(item.method), item, n) for n, item in enumerate(content.training, 1) if _panels(item)
    ]


def _training(title: str, item: TrainingCurves, number: int) -> Plot:
    caption = f"Training of {title}. Dashed: {', '.join(item.phases) or 'none'}."
    return Plot(curve_plot(_panels(item), "iteration", item.phases), f"training_{number}", caption, caption)


def _panels(item: TrainingCurves) -> dict[str, list[Line]]:
    sets = {"losses": item.losses, "validation": item.validation}
    return {title: [_line(name, curve) for name, curve in found.items()] for title, found in sets.items() if found}


def _line(name: str, curve: Sequence[tuple[int, float]]) -> Line:
    return Line(_readable(name.removeprefix("train/")), [x for x, _ in curve], [y for _, y in curve])


def _readable(name: str) -> str:
    """Return a loss name for readers: "adversarial, low dose" for ``gen_adversarial_low``."""
    plain = name.removeprefix("gen_").replace("disc_", "discriminator_")
    for domain in ("low", "full"):
        if plain.endswith(f"_{domain}"):
            plain = f"{plain.removesuffix(f'_{domain}')}, {domain} dose"
    return plain.replace("_", " ")


def slices(content: ReportContent) -> list[Grid]:
    """Return the picture grids of the panels."""
    return [grid for number, panel in enumerate(content.panels, 1) for grid in _grids(panel, number)]


def worst(content: ReportContent) -> list[Grid]:
    """Return the pictures of the benches as grids, without those of the input and of constants, which show nothing."""
    trivial = {item.name for item in content.methods if item.kind in {"input", "constant"}}
    return [
        Grid(
            f"{content.title_of(picture.method)}: {picture.topic.replace('_', ' ')}",
            picture.caption,
            [(title, grey_png(image, picture.hu_window)) for title, image in picture.images.items()],
            f"worst_{number}",
            magnified=True,
            small=True,
        )
        for number, picture in enumerate(content.pictures, 1)
        if picture.method not in trivial
    ]


def _grids(panel: Panel, number: int) -> Iterator[Grid]:
    """Yield one slice cropped to the body: three windows, a magnified region, and signed differences."""
    first = next(iter(panel.images.values()))
    body = body_region(first)
    images = {title: image[body] for title, image in panel.images.items()}
    where, name = f"Patient {panel.patient}, slice {panel.slice_index}", f"slice_{number}"
    reference = images.get(panel.reference)
    zoom = busiest_region(panel.images.get(panel.reference, first), ZOOM_PX)
    yield _grid(where, "soft tissue", images, name)
    enlarged = [(title, grey_png(image[zoom], WINDOWS["soft tissue"])) for title, image in panel.images.items()]
    caption = "The region with the most structure, window W400 L40."
    yield Grid(f"{where}, magnified region", caption, enlarged, f"{name}_magnified", magnified=True)
    if reference is not None:
        differences = [
            (title, signed_png(image - reference, DIFFERENCE_HU))
            for title, image in images.items()
            if title != panel.reference
        ]
        caption = f"Blue: below; red: above; full colour at {DIFFERENCE_HU:.0f} HU."
        yield Grid(f"{where}, minus {panel.reference.lower()}", caption, differences, f"{name}_differences")
    for window in ("lung", "bone"):
        yield _grid(where, window, images, name)


def _grid(where: str, window: str, images: dict[str, NDArray[np.float32]], name: str) -> Grid:
    low, high = WINDOWS[window]
    pictures = [(title, grey_png(image, (low, high))) for title, image in images.items()]
    return Grid(
        f"{where}, {window} window",
        f"W{high - low:.0f} L{(low + high) / 2:.0f}.",
        pictures,
        f"{name}_{window.replace(' ', '_')}",
    )


def within(grids: Sequence[Grid]) -> tuple[list[Block], int]:
    """Return the grids that fit into `MAX_PICTURE_BYTES`, in order, and how many are left out.

    Soft tissue and magnified regions of all slices come before differences, and these before other windows.
    """
    size, kept = 0, set()
    for grid in sorted(grids, key=_rank):
        size += sum(len(png) for _, png in grid.pictures)
        if size <= MAX_PICTURE_BYTES:
            kept.add(grid.name)
    return [grid for grid in grids if grid.name in kept], len(grids) - len(kept)


def _rank(grid: Grid) -> int:
    return next((rank for rank, kind in enumerate(_BY_WORTH) if grid.name.endswith(kind)), len(_BY_WORTH))


def _ends(finding: Finding) -> tuple[float, float] | None:
    return None if finding.low is None or finding.high is None else (finding.low, finding.high)
