"""Proposes how to train on what was found: method, kernel, split and scheme, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ctcycle.data.domains import UnpairedScheme
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.settings import Dose, Source, Split
from ctcycle.errors import ManifestError
from ctcycle.inspection.doses import measured_doses, proposed_doses
from ctcycle.inspection.facts import Facts
from ctcycle.inspection.proposals.splitting import Part, parts, propose_split, scheme_for

Method = Literal["supervised", "calibrated_pairs", "physics_cyclegan", "simulate", ""]

PAIRED_PATIENTS = 3
"""Patients with both doses that supervised training needs: one each to train, validate and test."""

_PAIRED_SHARE = 0.5
"""Share of the low-dose slices that must have a partner, or else training without pairs would use more of them."""


@dataclass(frozen=True)
class Proposal:
    """How to train.

    Attributes:
        method: the training method; ``simulate`` to simulate low dose first; empty if nothing can be trained.
        reasons: why, in sentences; no patient is named.
        sources: the folders, with the dose of each that has no label but clear noise.
        kernel: kernel to train on; None for all.
        splits: the split of each patient, by label.
        parts: what each split contains.
        scheme: how patients with both doses are divided between the domains; None with pairs.
        side: smallest side of a slice in pixels.
        low_slices: low-dose training slices.
    """

    method: Method
    reasons: tuple[str, ...]
    sources: tuple[Source, ...]
    kernel: str | None = None
    splits: dict[str, Split] = field(default_factory=dict)
    parts: dict[Split, Part] = field(default_factory=dict)
    scheme: UnpairedScheme | None = None
    side: int = 0
    low_slices: int = 0


def propose(facts: Facts, *, gpu: bool) -> Proposal:
    """Return the proposal for what was found.

    Args:
        facts: what was found.
        gpu: whether training will have a GPU; on a CPU, the method without a discriminator is proposed.
    """
    doses = proposed_doses(facts, measured_doses(facts.series))
    sources = tuple(
        replace(source, dose=doses[number]) if number in doses else source
        for number, source in enumerate(facts.sources)
    )
    rows = _labelled(facts, doses)
    found = {dose: [row for row in rows if row.dose == dose] for dose in ("low_dose", "full_dose")}
    reasons = [f"the noise of source {number + 1} is that of {_plain(dose)}" for number, dose in doses.items()]
    if found["low_dose"] and found["full_dose"]:
        return _with_both(facts, rows, sources, reasons, gpu=gpu)
    return _with_one(found["full_dose"], sources, reasons, low=bool(found["low_dose"]))


def _labelled(facts: Facts, doses: dict[int, Dose]) -> list[ManifestRow]:
    """Return the rows that can be trained on, with the doses of the proposal."""
    rows = [replace(one.row, dose=one.row.dose or doses.get(one.source, "")) for one in facts.series]
    made = {one.row.series for one in facts.series if one.info.made_by}
    return [row for row in rows if row.dose and row.series not in made]


def _with_one(full: Sequence[ManifestRow], sources: tuple[Source, ...], reasons: list[str], *, low: bool) -> Proposal:
    """Return the proposal for scans of one dose, or of none that is known."""
    if full:
        why = "there is only full dose, so low dose is simulated from it, which gives pairs"
        side = min(min(row.rows, row.columns) for row in full)
        return Proposal("simulate", (*reasons, why), sources, side=side)
    what = "there is only low dose" if low else "the dose of no series is known"
    do = "add full-dose scans of any patients" if low else "set `dose` of the sources, or of series in a manifest"
    return Proposal("", (*reasons, f"{what}, so nothing can be trained: {do}, or use the shipped model"), sources)


def _with_both(
    facts: Facts, every: Sequence[ManifestRow], sources: tuple[Source, ...], reasons: list[str], *, gpu: bool
) -> Proposal:
    """Return the proposal for scans of both doses: the kernel with most slices of the rarer dose."""
    kernel = _best_kernel(every)
    names = {row.kernel for row in every}
    rows = [row for row in every if kernel in {None, row.kernel}]
    if len(names) > 1 and kernel is not None:
        reasons.append(f"of {len(names)} kernels, {kernel or 'unknown'} has most slices of both doses")
    try:
        splits = propose_split(facts, rows)
    except ManifestError:
        return Proposal("", (*reasons, "folder names put one patient into two splits; rename them"), sources)
    contents, side = parts(facts, rows, splits), min(min(row.rows, row.columns) for row in rows)
    train = [row for row in rows if splits.get(row.patient) == "train"]
    proposal = Proposal(
        "",
        (),
        sources,
        kernel if len(names) > 1 else None,
        splits,
        contents,
        side=side,
        low_slices=contents["train"].low,
    )
    if _enough_pairs(facts, rows, contents):
        why = f"{_paired_patients(facts, rows)} patients have true pairs, most of the low-dose slices"
        return replace(proposal, method="supervised", reasons=(*reasons, why))
    scheme = scheme_for(facts, train)
    if scheme is None:
        return replace(proposal, reasons=(*reasons, "no kernel has training slices of both doses"))
    method: Method = "physics_cyclegan" if gpu else "calibrated_pairs"
    why = "too few true pairs, so training without pairs: " + (
        "a CycleGAN whose noise is simulated"
        if gpu
        else "simulated noise, calibrated on your scans (half the CPU time)"
    )
    return replace(proposal, method=method, reasons=(*reasons, why), scheme=scheme)


def _best_kernel(rows: Sequence[ManifestRow]) -> str | None:
    """Return the kernel with the most slices of its rarer dose; None if no kernel has both doses."""
    slices = {
        kernel: sorted(
            sum(row.slices for row in rows if (row.kernel, row.dose) == (kernel, dose))
            for dose in ("low_dose", "full_dose")
        )
        for kernel in sorted({row.kernel for row in rows})
    }
    best = max(slices, key=lambda kernel: tuple(slices[kernel]))
    return best if slices[best][0] else None


def _paired_patients(facts: Facts, rows: Sequence[ManifestRow]) -> int:
    """Return how many patients of these series have true pairs."""
    patients = {row.series: row.patient for row in rows}
    return len({patients[pair.low] for pair in facts.pairs if not pair.problem and pair.low in patients})


def _enough_pairs(facts: Facts, rows: Sequence[ManifestRow], contents: dict[Split, Part]) -> bool:
    """Return whether supervised training is worth it: every split has pairs, and they are most of the low dose."""
    pairs, low = (sum(getattr(part, name) for part in contents.values()) for name in ("pairs", "low"))
    enough = _paired_patients(facts, rows) >= PAIRED_PATIENTS and contents["train"].pairs > 0
    own = {row.series for row in rows}
    wrong = any(pair.problem for pair in facts.pairs if pair.low in own)
    return enough and not wrong and pairs >= _PAIRED_SHARE * low


def _plain(dose: str) -> str:
    return dose.replace("_", " ")
