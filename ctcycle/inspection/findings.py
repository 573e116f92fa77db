"""What is worth knowing before training, in sentences: problems first. No sentence names a patient, folder or file."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ctcycle.ct.series import pixel_note
from ctcycle.data.settings import Dose
from ctcycle.errors import one_line
from ctcycle.inspection.copies import BOTH_DOSES, TWO_PATIENTS
from ctcycle.inspection.doses import disagreements, noise_by_dose
from ctcycle.inspection.facts import Facts, SeriesFacts
from ctcycle.inspection.kernels import aliases, confounded

Weight = Literal["bad", "neutral", "good"]
"""A problem to solve before training; something to know; something that is in order."""

_ORDER: tuple[Weight, ...] = ("bad", "neutral", "good")
_MANY = 0.02


@dataclass(frozen=True)
class Finding:
    """One sentence.

    Attributes:
        weight: how much it matters.
        subject: one or two words.
        text: the sentence.
    """

    weight: Weight
    subject: str
    text: str


def findings(facts: Facts, measured: dict[str, Dose]) -> list[Finding]:
    """Return everything worth knowing, problems first."""
    found = [
        *_doses(facts, measured),
        *_kernels(facts),
        *_geometry(facts),
        *_pairs(facts),
        *_copies(facts),
        *_pixels(facts),
        *_others(facts),
    ]
    return sorted(found, key=lambda one: _ORDER.index(one.weight))


def _doses(facts: Facts, measured: dict[str, Dose]) -> Iterator[Finding]:
    for sentence in disagreements(facts):
        yield Finding("bad", "dose", sentence)
    unlabelled = [one for one in facts.series if not one.row.dose]
    if unlabelled:
        guess = Counter(measured[one.row.series] for one in unlabelled)
        yield Finding(
            "neutral" if len(guess) == 1 and "" not in guess else "bad",
            "dose",
            f"{_count(len(unlabelled), 'series')} without a label of the dose; by their noise, "
            f"{guess['low_dose']} low dose, {guess['full_dose']} full dose, {guess['']} unclear; set `dose` of the "
            "source",
        )
    for label, other in (("low_dose", "full_dose"), ("full_dose", "low_dose")):
        against = [one for one in facts.series if one.row.dose == label and measured[one.row.series] == other]
        known = [one for one in facts.series if one.row.dose == label and measured[one.row.series]]
        if against and 2 * len(against) > len(known):
            yield Finding(
                "neutral",
                "dose",
                f"{len(against)} of {_count(len(known), 'series')} labelled {_plain(label)} have the noise of "
                f"{_plain(other)} ({_plain_noise(against)}); check that the label is right",
            )
    low, full = noise_by_dose(facts.series, "low_dose"), noise_by_dose(facts.series, "full_dose")
    if math.isfinite(low) and math.isfinite(full):
        yield Finding(
            "good" if low > full else "neutral",
            "dose",
            f"median noise in soft tissue: {low:.0f} HU in low dose, {full:.0f} HU in full dose, over all kernels",
        )


def _kernels(facts: Facts) -> Iterator[Finding]:
    rows = [one.row for one in facts.series]
    for names in aliases(rows):
        yield Finding(
            "neutral",
            "kernel",
            f"{' and '.join(names)} may be one kernel; training selects by name, so give them one name in the column "
            "'kernel' of the manifest if they are",
        )
    if confounded(rows):
        yield Finding(
            "bad",
            "kernel",
            "no kernel has both doses, so a network without pairs would learn the kernel instead of the dose",
        )
    if unknown := sum(not row.kernel for row in rows):
        yield Finding("neutral", "kernel", f"{_count(unknown, 'series')} without a kernel; different ones may be mixed")


def _geometry(facts: Facts) -> Iterator[Finding]:
    by_kernel: dict[str, dict[Dose, set[float]]] = defaultdict(lambda: defaultdict(set))
    for one in facts.series:
        if one.row.thickness_mm:
            by_kernel[one.row.kernel][one.row.dose].add(round(one.row.thickness_mm, 1))
    for kernel, doses in sorted(by_kernel.items()):
        low, full = doses["low_dose"], doses["full_dose"]
        if low and full and low != full:
            yield Finding(
                "neutral",
                "thickness",
                f"kernel {kernel or 'unknown'}: slices of {_list(low)} mm in low dose and of {_list(full)} mm in full "
                "dose; thickness changes the noise as dose does, so leave out what only one dose has",
            )
    odd = [one for one in facts.series if pixel_note(*one.info.spacing_mm[1:])]
    if odd:
        yield Finding("neutral", "pixels", f"{_count(len(odd), 'series')} with pixels that are not square")


def _pairs(facts: Facts) -> Iterator[Finding]:
    problems = [pair for pair in facts.pairs if pair.problem]
    for pair in problems[:10]:
        yield Finding("bad", "pairs", f"series {pair.low} and {pair.full}: {_without_paths(pair.problem, facts)}")
    if len(problems) > 10:
        yield Finding("bad", "pairs", f"{len(problems) - 10} more series of both doses are no pairs")
    good = [pair for pair in facts.pairs if not pair.problem]
    if good:
        compared = sum(pair.compared for pair in good)
        yield Finding(
            "good",
            "pairs",
            f"{sum(pair.slices for pair in good)} slices of {_count(len(good), 'pair')} of series are at the same "
            f"position; of {compared} that were compared, all show the same anatomy",
        )


def _copies(facts: Facts) -> Iterator[Finding]:
    for one in facts.copies[:10]:
        remedy = {
            BOTH_DOSES: "one of the two labels is wrong, or a scan was copied into both folders",
            TWO_PATIENTS: "they are kept in one split here; give both the same `patient`, or remove one",
        }.get(one.kind, "remove one of them")
        where = f"series {one.first}" if one.first == one.second else f"series {one.first} and {one.second}"
        weight: Weight = "neutral" if one.kind not in {BOTH_DOSES, TWO_PATIENTS} else "bad"
        yield Finding(weight, "copies", f"{where}: {one.kind} ({_count(one.slices, 'slice')}); {remedy}")
    if len(facts.copies) > 10:
        yield Finding("bad", "copies", f"{len(facts.copies) - 10} more series repeat slices of others")


def _pixels(facts: Facts) -> Iterator[Finding]:
    units = Counter(one.pixels.unit for one in facts.series if one.pixels)
    for unit, number in units.most_common(6):
        yield Finding("good", "unit", f"{_count(number, 'series')}: {unit}")
    padded = [one for one in facts.series if one.pixels and one.pixels.padding > 0]
    if padded:
        share = max(one.pixels.padding for one in padded if one.pixels)
        yield Finding(
            "good", "padding", f"{_count(len(padded), 'series')} with padding, up to {100 * share:.0f} % of the pixels"
        )
    bright = [one for one in facts.series if one.pixels and one.pixels.beyond_window > _MANY]
    if bright:
        yield Finding(
            "neutral",
            "window",
            f"{_count(len(bright), 'series')} with more than {100 * _MANY:.0f} % of the body above 1000 HU; such "
            "pixels are left as they are, since `data.hu_window` ends there",
        )
    noiseless = [one for one in facts.series if one.pixels and not math.isfinite(one.noise_hu)]
    if noiseless:
        yield Finding(
            "neutral", "noise", f"{_count(len(noiseless), 'series')} with too little soft tissue to measure noise in"
        )


def _others(facts: Facts) -> Iterator[Finding]:
    made = [one for one in facts.series if one.info.made_by]
    if made:
        yield Finding("bad", "origin", f"{_count(len(made), 'series')} made by ctcycle, not by a scanner; remove them")
    refused = Counter(_without_paths(item.reason, facts) for item in facts.skipped if item.refused or item.damaged)
    for reason, number in refused.most_common(8):
        yield Finding("bad", "unusable", f"{number} x {reason}")
    unread = sum(one.pixels is None for one in facts.series)
    if unread:
        yield Finding("neutral", "sample", f"the pixels of {unread} of {len(facts.series)} series were not read")
    if not facts.every_slice:
        yield Finding(
            "neutral", "sample", "only a sample of the slices was read, so copies of other slices are not found here"
        )


def _without_paths(text: str, facts: Facts) -> str:
    """Return a sentence without the paths of a series or of the folders in it."""
    known = {str(path) for one in facts.series for path in (one.info.path, *one.info.files)}
    known |= {str(item.path) for item in facts.skipped} | {str(source.path) for source in facts.sources}
    for path in sorted(known, key=len, reverse=True):
        text = text.replace(path, "(file)") if "/" in path.strip("/") else text.removeprefix(f"{path}: ")
    return one_line(text)


def _plain(dose: str) -> str:
    return dose.replace("_", " ")


def _plain_noise(series: Sequence[SeriesFacts]) -> str:
    parts = []
    for one in series[:3]:
        routine = one.pixels.level.routine_hu if one.pixels else math.nan
        beside = f", where a routine dose has about {routine:.0f}" if math.isfinite(routine) else ""
        parts.append(f"{one.row.series}: {one.noise_hu:.0f} HU{beside}")
    return "; ".join(parts)


def _list(values: set[float]) -> str:
    return " and ".join(f"{value:g}" for value in sorted(values))


def _count(number: int, noun: str, plural: str = "") -> str:
    many = plural or (noun if noun.endswith("series") else f"{noun}s")
    return f"{number} {noun if number == 1 else many}"
