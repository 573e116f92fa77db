"""Tables and cards of the report: verdicts, figures by merit, all figures, fidelity, outliers."""

from collections.abc import Iterable, Sequence
from itertools import takewhile

import numpy as np

from ctcycle.evaluation.findings import Finding, Measure
from ctcycle.evaluation.page.content import ReportContent
from ctcycle.evaluation.results import Row
from ctcycle.evaluation.verdict.lookup import Figures
from ctcycle.evaluation.verdict.merit import MERIT_RULE, Verdict
from ctcycle.evaluation.verdict.rules import RULES, Mark, mark_of
from ctcycle.report.document import Block, Card, Cell, Sign, Table, Text

SIGNS: dict[Mark, Sign] = {Mark.GOOD: "good", Mark.NEUTRAL: "neutral", Mark.BAD: "bad"}

HEADLINES = (
    ("Noise removed", "noise_removed"),
    ("Error over floor", "error_over_floor"),
    ("Texture distance", "texture_distance"),
    ("Contrast kept, 3 mm, 20 HU", "contrast_kept_3mm_20hu"),
    ("Contrast kept, 1.5 mm, 40 HU", "contrast_kept_1p5mm_40hu"),
    ("Detectability, 3 mm, over input", "d_prime_ratio_3mm"),
    ("Resolution at -100 HU edges", "resolution_minus100_f50_ratio"),
    ("Soft tissue error beyond input, HU", "bias_soft_beyond_input_hu"),
    ("Lung error beyond input, HU", "bias_lung_beyond_input_hu"),
    ("False structures over chance", "false_structures_ratio"),
)
MIN_FOR_OUTLIERS = 5
FAR = 3.0


def cards(content: ReportContent, verdicts: Sequence[Verdict]) -> list[Block]:
    """Return a card for each method with sentences or marks."""
    kinds = {item.name: item.kind for item in content.methods}
    return [
        Card(
            content.title_of(item.method),
            f"{kinds[item.method]}; merit {_merit(item)}",
            item.sentences,
            [(str(question), SIGNS[mark]) for question, mark in item.answers.items()],
        )
        for item in verdicts
        if item.sentences
    ]


def by_merit(content: ReportContent, verdicts: Sequence[Verdict], findings: Sequence[Finding]) -> list[Block]:
    """Return the table of the main figures in the order of merit, and the rules of its marks."""
    figures = {item.method: Figures(item.method, findings) for item in verdicts}
    shown = [(title, key) for title, key in HEADLINES if any(figure.find(key) for figure in figures.values())]
    if not shown:
        return []
    rows = [
        [
            Cell(content.title_of(item.method)),
            Cell(_merit(item)),
            *(figure_cell(figures[item.method].find(key), findings) for _, key in shown),
        ]
        for item in verdicts
    ]
    caption = "The highest merit first. Small print: 95 % interval, sample, and the bench. + good, o neutral, − bad."
    measured = [rule for rule in RULES if any(rule.applies(finding.measure) for finding in findings)]
    marks = "A mark is neutral between the limits, and where the 95 % interval reaches from good to bad."
    rules = [f"{rule.title}: {rule.text()}." for rule in measured]
    header = ["Method", "Merit", *(title for title, _ in shown)]
    return [Table(caption, header, rows), Text([marks, MERIT_RULE]), Text(rules, listed=True)]


def all_figures(content: ReportContent, findings: Sequence[Finding]) -> list[Block]:
    """Return a folded table with a row for each measure and bench, and the reasons for missing values."""
    known = {measure.key: measure for measure in content.measures}
    names = [item.name for item in content.methods]
    keys = dict.fromkeys((finding.bench, finding.measure) for finding in findings if finding.method in names)
    lookup = {(f.method, f.bench, f.measure): f for f in findings}
    rows = [
        [
            Cell(known[key].title if key in known else key.replace("_", " "), _unit(known[key].unit, bench))
            if key in known
            else Cell(key.replace("_", " "), bench),
            *(figure_cell(lookup.get((name, bench, key)), findings) for name in names),
        ]
        for bench, key in keys
    ]
    if not rows:
        return []
    blocks: list[Block] = [Table("All measures", ["Measure", *map(content.title_of, names)], rows, folded=True)]
    meaning = _meanings(content.measures)
    return [*blocks, Text(meaning, listed=True)] if meaning else blocks


def _meanings(measures: Sequence[Measure]) -> list[str]:
    """Say what each measure means; measures with the same meaning share a line, under what their titles begin with."""
    titles: dict[str, list[str]] = {}
    for measure in measures:
        if measure.description:
            titles.setdefault(measure.description, []).append(measure.title)
    return [f"{_shared(found)}: {description}" for description, found in titles.items()]


def _shared(titles: Sequence[str]) -> str:
    """Return the words with which all titles begin; without any, all titles."""
    words = [title.split() for title in titles]
    same = list(takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False)))
    return " ".join(column[0] for column in same).rstrip(",:") or "; ".join(titles)


def fidelity(content: ReportContent) -> list[Block]:
    """Return a table for each protocol, with the protocol's text."""
    blocks: list[Block] = []
    for protocol in dict.fromkeys(row.protocol for row in content.rows):
        text = (content.protocols or {}).get(protocol, "")
        text = text[:1].upper() + text[1:]
        rows = [_fidelity_row(content, row) for row in content.rows if row.protocol == protocol]
        header = ["Method", "PSNR, dB", "Gain over input, dB", "SSIM", "RMSE, HU", "Mean error, HU", "Patients"]
        blocks.append(Table(f"Protocol {protocol}. {text}".strip(), header, rows))
    return blocks


def outliers(content: ReportContent) -> list[str]:
    """Name the patient keys whose difference is far from the median (3 times the scaled median deviation)."""
    return [text for contrast in content.contrasts for text in _outliers(content, contrast.method, contrast.by_patient)]


def _outliers(content: ReportContent, method: str, by_patient: object) -> Iterable[str]:
    values: dict[str, float] = dict(by_patient)  # type: ignore[call-overload]
    if len(values) < MIN_FOR_OUTLIERS:
        return
    middle = float(np.median(list(values.values())))
    spread = 1.4826 * float(np.median([abs(value - middle) for value in values.values()]))
    for patient, value in values.items():
        if spread > 0 and abs(value - middle) > FAR * spread:
            yield f"{content.title_of(method)}: patient {patient} is an outlier ({value:+z.2f}, median {middle:+z.2f})."


def figure_cell(finding: Finding | None, findings: Sequence[Finding]) -> Cell:
    """Return a figure, one of ``findings``, with interval, sample and mark; the reason where it is missing."""
    if finding is None:
        return Cell("–")
    if finding.value is None:
        return Cell("–", finding.note)
    mark = mark_of(finding, findings)
    ends = f"{_number(finding.low)} to {_number(finding.high)}; " if finding.low is not None else ""
    sample = f"{finding.count} {finding.count_of}, " if finding.count else ""
    return Cell(_number(finding.value), f"{ends}{sample}{finding.bench}", SIGNS[mark] if mark else "")


def _fidelity_row(content: ReportContent, row: Row) -> list[Cell]:
    return [
        Cell(content.title_of(row.method)),
        Cell(_fixed(row.psnr, 2), _range(row.psnr_ci95, 2)),
        Cell(_fixed(row.psnr_gain, 2), _range(row.psnr_gain_ci95, 2)),
        Cell(_fixed(row.ssim, 4), _range(row.ssim_ci95, 4)),
        Cell(_fixed(row.rmse_hu, 1), _range(row.rmse_hu_ci95, 1)),
        Cell(_fixed(row.bias_hu, 2)),
        Cell(str(row.patients)),
    ]


def _merit(verdict: Verdict) -> str:
    return "not measured" if verdict.merit is None else f"{verdict.merit:+z.2f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.2f}" if abs(value) < 10 else f"{value:.1f}"


def _fixed(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:z.{places}f}"


def _range(ends: tuple[float, float] | None, places: int) -> str:
    return "" if ends is None else f"{ends[0]:z.{places}f} to {ends[1]:z.{places}f}"


def _unit(unit: str, bench: str) -> str:
    return f"{unit}, {bench}" if unit else bench
