"""The page of the data doctor: one HTML file that names no patient, folder or file."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ctcycle.data.settings import Dose
from ctcycle.inspection.facts import Facts, SeriesFacts
from ctcycle.inspection.findings import Finding
from ctcycle.inspection.kernels import kernel_table
from ctcycle.inspection.pixels import PICTURE_HU, spread
from ctcycle.inspection.proposals.proposal import Proposal
from ctcycle.inspection.shown.summary import proposal_lines
from ctcycle.inspection.shown.tables import HEADER, group_rows
from ctcycle.metrics.spectral.nps import noise_power_of
from ctcycle.report.document import Block, Card, Cell, Document, Grid, Part, Plot, Sign, Table, Text
from ctcycle.report.html import render
from ctcycle.report.plots import Line, line_plot

_MOST_LINES, _MOST_ROWS = 10, 200
_TITLES: dict[Sign, str] = {"bad": "To solve before training", "neutral": "To know", "good": "In order"}
_LABELS = {"low_dose": "low dose", "full_dose": "full dose", "": "unknown dose"}
_PRIVACY = (
    "Patients are numbers here; series.csv beside this page gives their names in the manifest. Each picture is one "
    "axial slice from the middle of a series, cropped to the body and made smaller; no face can be rendered from "
    "single slices. Nothing is written into the pictures. Series whose header declares burnt-in text have no picture."
)


def page(
    facts: Facts, measured: Mapping[str, Dose], found: Sequence[Finding], proposal: Proposal, files: Sequence[str]
) -> str:
    """Return the page as HTML.

    Args:
        facts: what was found.
        measured: dose that the noise of each series speaks for.
        found: the findings.
        proposal: how to train.
        files: names of the config files beside the page, in the order to run them.
    """
    slices = sum(one.row.slices for one in facts.series)
    title = f"{len(facts.series)} series of {len(facts.labels)} patients, {slices} slices"
    parts = (
        Part("Findings", list(_cards(found))),
        Part("Proposal", list(_proposal(proposal, files))),
        Part("Series", [_series(facts, measured, proposal), _kernels(facts)]),
        Part("Pictures", list(_pictures(facts))),
        Part("Noise", list(_noise(facts))),
        Part("About this page", [Text([_PRIVACY])]),
    )
    return render(Document("Data doctor", title, parts))


def _cards(found: Sequence[Finding]) -> Iterator[Block]:
    for weight, title in _TITLES.items():
        own = [one for one in found if one.weight == weight]
        if own:
            lines = [f"{one.subject}: {one.text}" for one in own]
            yield Card(title, f"{len(own)} {'finding' if len(own) == 1 else 'findings'}", lines, [(title, weight)])


def _proposal(proposal: Proposal, files: Sequence[str]) -> Iterator[Block]:
    first, *rest = proposal_lines(proposal)
    yield Text([first.removeprefix("proposal: ").capitalize() + "."])
    yield Text([line.strip() for line in rest], listed=True)
    if files:
        yield Text([f"Run {', then '.join(files)} with ctcycle run; the files are beside this page."])


def _series(facts: Facts, measured: Mapping[str, Dose], proposal: Proposal) -> Block:
    rows = [[Cell(cell) for cell in line] for line in group_rows(facts, measured, proposal.splits)]
    more = f" The first {_MOST_ROWS} lines of {len(rows)}." if len(rows) > _MOST_ROWS else ""
    caption = (
        "Series by patient and kind. By noise: the dose that the measured noise speaks for. Routine: the noise that a "
        f"routine dose would have with this texture, pixel size and thickness; ? is unknown.{more}"
    )
    return Table(caption, (*HEADER, "split"), rows[:_MOST_ROWS])


def _kernels(facts: Facts) -> Block:
    rows = [
        [Cell(kernel or "unknown"), *(Cell(str(counts[dose])) for dose in _LABELS)]
        for kernel, counts in kernel_table([one.row for one in facts.series]).items()
    ]
    return Table("Slices by kernel and dose", ("kernel", *_LABELS.values()), rows)


def _pictures(facts: Facts) -> Iterator[Block]:
    low, high = PICTURE_HU
    shown = [one for one in facts.series if one.pixels and one.pixels.picture]
    for dose, label in _LABELS.items():
        own = [one for one in shown if one.row.dose == dose]
        if own:
            pictures = [(_name(one), one.pixels.picture) for one in own if one.pixels]
            caption = f"Window of {low:g} to {high:g} HU for all, cropped to the body."
            yield Grid(label.capitalize(), caption, pictures, f"pictures-{dose or 'unknown'}")


def _name(one: SeriesFacts) -> str:
    noise = f", {one.noise_hu:.0f} HU" if math.isfinite(one.noise_hu) else ""
    return f"P{one.patient} {one.row.kernel or '?'} {one.row.thickness_mm:g} mm{noise}"


def _noise(facts: Facts) -> Iterator[Block]:
    measured = [one for one in facts.series if one.pixels and one.pixels.noise_hu]
    if measured:
        lines = [_noise_line(measured[place]) for place in spread(len(measured), _MOST_LINES)]
        yield Plot(
            line_plot(lines, "slice", "noise in soft tissue (HU)"),
            "noise-by-slice",
            f"Noise against slice, of {len(lines)} of {len(measured)} series. It follows the width of the body.",
            "Noise in soft tissue of some series against the number of the slice",
        )
    spectra = list(_spectra(facts))
    if spectra:
        yield Plot(
            line_plot(spectra, "frequency (cycles per pixel)", "noise power (HU² mm²)"),
            "noise-power",
            "Noise power spectrum of flat soft tissue by dose and kernel. One kernel has one shape at every dose; a "
            "different shape is a different kernel.",
            "Noise power against spatial frequency for each dose and kernel",
        )


def _noise_line(one: SeriesFacts) -> Line:
    noise = one.pixels.noise_hu if one.pixels else {}
    dose = {"low_dose": "low", "full_dose": "full"}.get(one.row.dose, "?")
    return Line(
        f"P{one.patient} {dose} {one.row.kernel or '?'}", [float(index) for index in noise], list(noise.values())
    )


def _spectra(facts: Facts) -> Iterator[Line]:
    """Yield the mean spectrum of each dose and kernel."""
    groups: dict[tuple[str, str], list[SeriesFacts]] = {}
    for one in facts.series:
        if one.pixels and one.pixels.windows:
            groups.setdefault((one.row.kernel, one.row.dose), []).append(one)
    for (kernel, dose), own in sorted(groups.items())[:_MOST_LINES]:
        pixels = [one.pixels for one in own if one.pixels]
        windows = sum(one.windows for one in pixels)
        pixel_mm = float(np.median([one.row.spacing_mm or 1.0 for one in own]))
        power = noise_power_of(np.sum([one.power_hu2 for one in pixels], axis=0) / windows, windows, pixel_mm)
        frequency = (power.frequency_per_mm * pixel_mm).tolist()
        yield Line(f"{_LABELS[dose]} {kernel or '?'}", frequency, power.radial_hu2_mm2.tolist())
