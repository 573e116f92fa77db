"""Writing of the report: ``report.html``, ``figures/report_*.png`` and ``measures.csv``."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ctcycle.atomic import write_file, write_text
from ctcycle.evaluation.findings import Finding
from ctcycle.evaluation.page import figures, tables
from ctcycle.evaluation.page.content import ReportContent
from ctcycle.evaluation.verdict.merit import verdicts
from ctcycle.evaluation.verdict.rules import mark_of, with_derived
from ctcycle.report.document import Block, Document, Facts, Part, Plot, Text
from ctcycle.report.html import render
from ctcycle.report.pixels import side_by_side


def write_report(folder: Path, content: ReportContent) -> Path:
    """Write the report of an evaluation to ``folder``, and return the path of its HTML file.

    Raises:
        OutputError: a file cannot be written.
    """
    document = report_document(content)
    for block in (block for part in document.filled() for block in part.blocks):
        if isinstance(block, Plot):
            _write_png(folder / "figures" / f"report_{block.name}.png", block.png)
    for grid in (*figures.slices(content), *figures.worst(content)):
        _write_png(folder / "figures" / f"report_{grid.name}.png", side_by_side(grid.pictures, grid.magnified))
    write_text(folder / "measures.csv", measures_csv(content))
    path = folder / "report.html"
    write_text(path, render(document))
    return path


def report_document(content: ReportContent) -> Document:
    """Return the report as a document; parts without data are absent."""
    findings = with_derived(content.findings)
    found = verdicts([item.name for item in content.methods], content.findings, content.curves)
    contrast_notes = [item.note for item in content.contrasts if item.note]
    parts = [
        Part("Verdicts", tables.cards(content, found)),
        Part("Main measures by merit", tables.by_merit(content, found, findings)),
        Part("Error and texture", figures.trade_off(content, findings)),
        Part("Inserted lesions", figures.curves(content, ("insertion_contrast", "insertion_profile"))),
        Part("Noise texture and resolution", figures.curves(content, ("nps", "ttf"))),
        Part("Slices", _with_rest(*figures.within(figures.slices(content)))),
        Part("Worst places", _with_rest(*figures.within(figures.worst(content)))),
        Part(
            "Patients",
            [*figures.patients(content), *_lines(dict.fromkeys([*tables.outliers(content), *contrast_notes]))],
        ),
        Part("Training", figures.training(content)),
        Part("Fidelity to full dose", tables.fidelity(content)),
        Part("All measures", tables.all_figures(content, findings)),
        Part("Notes", _lines(content.notes)),
        Part("Provenance", _provenance(content)),
    ]
    return Document(content.title, "Lower error does not mean better images: read the verdicts first.", parts)


def measures_csv(content: ReportContent) -> str:
    """Return all findings as CSV, with title, unit and mark."""
    known = {measure.key: measure for measure in content.measures}
    stream = io.StringIO()
    names = [*asdict(Finding("", "pairs", "", None)), "title", "unit", "mark"]
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    findings = with_derived(content.findings)
    for finding in findings:
        measure, mark = known.get(finding.measure), mark_of(finding, findings)
        more = {"title": measure.title if measure else "", "unit": measure.unit if measure else ""}
        writer.writerow({**asdict(finding), **more, "mark": mark.name.lower() if mark else ""})
    return stream.getvalue()


def _write_png(path: Path, png: bytes) -> None:
    write_file(path, lambda stream: stream.write(png))


def _lines(lines: Sequence[str] | dict[str, None]) -> list[Block]:
    return [Text(list(lines), listed=True)] if lines else []


def _with_rest(blocks: list[Block], left_out: int) -> list[Block]:
    rest = f"Left out to keep this file small: {left_out} more, which are in the folder figures."
    return [*blocks, Text([rest])] if left_out else blocks


def _provenance(content: ReportContent) -> list[Block]:
    digests = [(item.title, f"{item.kind}, {item.digest[:16]}") for item in content.methods if item.digest]
    pairs = [*(content.provenance or {}).items(), *digests]
    return [Facts(pairs)] if pairs else []
