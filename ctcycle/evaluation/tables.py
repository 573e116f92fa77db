"""Formats results as tables: aligned text for a terminal, Markdown for documents."""

from collections.abc import Sequence

from ctcycle.evaluation.findings import Finding, Measure
from ctcycle.evaluation.results import Interval, Row
from ctcycle.metrics import ProtocolName


def format_table(rows: Sequence[Row], protocol: ProtocolName) -> str:
    """Return the rows of one protocol as aligned text of at most 100 columns, in the given order."""
    return _aligned(_cells([row for row in rows if row.protocol == protocol]))


def findings_table(methods: Sequence[str], measures: Sequence[Measure], findings: Sequence[Finding]) -> str:
    """Return aligned text with a row for each measure and a column for each method, values with their intervals."""
    cells = {(found.method, found.measure): _found(found) for found in findings}
    titles = {measure.key: ", ".join(filter(None, (measure.title, measure.unit))) for measure in measures}
    lines = [[title, *(cells.get((method, key), "-") for method in methods)] for key, title in titles.items()]
    return _aligned([["", *methods], *lines])


def markdown_table(rows: Sequence[Row], protocol: ProtocolName) -> str:
    """Return the rows of one protocol as a Markdown table, in the given order."""
    head, *lines = _cells([row for row in rows if row.protocol == protocol])
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ruler, *lines))


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells with a ruler below the first: names to the left, the rest to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruler = ["-" * width for width in widths]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in (lines[0], ruler, *lines[1:])
    )


def _cells(rows: Sequence[Row]) -> list[list[str]]:
    head = ["method", "PSNR dB", "95 %", "SSIM", "95 %", "RMSE HU", "MAE HU", "bias HU", "noise HU", "gain dB"]
    return [head, *(_line(row) for row in rows)]


def _line(row: Row) -> list[str]:
    return [
        row.method,
        _number(row.psnr, ".2f"),
        _range(row.psnr_ci95, ".1f"),
        f"{row.ssim:.4f}",
        _range(row.ssim_ci95, ".3f"),
        f"{row.rmse_hu:.1f}",
        f"{row.mae_hu:.1f}",
        f"{row.bias_hu:+z.1f}",
        _number(row.noise_hu, ".1f"),
        _number(row.psnr_gain, "+z.2f"),
    ]


def _found(found: Finding) -> str:
    if found.value is None:
        return "-"
    ends = "" if found.low is None or found.high is None else f" ({found.low:.3g} to {found.high:.3g})"
    return f"{found.value:.3g}{ends}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _range(interval: Interval, form: str) -> str:
    return "-" if interval is None else f"{interval[0]:{form}}-{interval[1]:{form}}"
