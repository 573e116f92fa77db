"""The printed summary: a table of the series, what was found, and what is proposed."""

from collections.abc import Mapping, Sequence

from ctcycle.data.settings import Dose
from ctcycle.inspection.facts import Facts
from ctcycle.inspection.findings import Finding
from ctcycle.inspection.kernels import kernel_table
from ctcycle.inspection.proposals.proposal import Proposal
from ctcycle.inspection.shown.tables import HEADER, aligned, group_rows

_MOST_LINES = 40
_MARKS = {"bad": "!", "neutral": "-", "good": "+"}


def summary(facts: Facts, measured: Mapping[str, Dose], found: Sequence[Finding], proposal: Proposal) -> str:
    """Return the summary; patients are named as in the manifest that a scan writes."""
    slices = sum(one.row.slices for one in facts.series)
    lines = aligned((*HEADER, "split"), group_rows(facts, measured, proposal.splits))
    more = [f"... and {len(lines) - 1 - _MOST_LINES} more lines in series.csv"] if len(lines) > _MOST_LINES + 1 else []
    return "\n".join(
        [
            f"{len(facts.series)} series of {len(facts.labels)} patients, {slices} slices",
            _patients(facts),
            "",
            *lines[: _MOST_LINES + 1],
            *more,
            "",
            *_kernels(facts),
            "",
            *(f"{_MARKS[one.weight]} {one.subject}: {one.text}" for one in found),
            *(f"- {note}" for note in facts.notes),
            "",
            *proposal_lines(proposal),
        ]
    )


def _patients(facts: Facts) -> str:
    shown = [f"P{number} {name}" for number, name in sorted(facts.labels.items())[:_MOST_LINES]]
    more = f", and {len(facts.labels) - len(shown)} more" if len(facts.labels) > len(shown) else ""
    return f"patients: {', '.join(shown)}{more}"


def _kernels(facts: Facts) -> list[str]:
    return [
        f"kernel {kernel or 'unknown'}: {counts['low_dose']} low-dose, {counts['full_dose']} full-dose slices"
        + (f", {counts['']} of unknown dose" if counts[""] else "")
        for kernel, counts in kernel_table([one.row for one in facts.series]).items()
    ]


def proposal_lines(proposal: Proposal) -> list[str]:
    """Return the proposal as lines of text."""
    what = {"": "nothing to train", "simulate": "simulate low dose, then train supervised"}
    method = what.get(proposal.method, proposal.method)
    kernel = f", kernel {proposal.kernel}" if proposal.kernel is not None else ""
    scheme = f", {proposal.scheme}" if proposal.scheme else ""
    sizes = [
        f"  {split}: {len(part.patients)} {'patient' if len(part.patients) == 1 else 'patients'}, {part.low} low-dose "
        f"and {part.full} full-dose slices, {part.pairs} true pairs"
        for split, part in proposal.parts.items()
    ]
    return [f"proposal: {method}{kernel}{scheme}", *(f"  {reason}" for reason in proposal.reasons), *sizes]
