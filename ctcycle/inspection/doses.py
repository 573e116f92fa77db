"""The dose of each series by its label and by its measured noise, and where the two disagree."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from ctcycle.data.scan_noise import contradictions
from ctcycle.data.settings import Dose
from ctcycle.inspection.facts import Facts, SeriesFacts

_APART, _APART_IN_PATIENT = 1.5, 1.25
"""Noise of low dose over that of full dose of the same kernel and thickness, at least; and within one patient."""


def measured_doses(series: Sequence[SeriesFacts]) -> dict[str, Dose]:
    """Return the dose that the noise of each series speaks for, by its name; empty where it cannot be said.

    The noise is compared with that of a routine dose for its own texture, pixel size and thickness. Where that is
    unknown, series of one kernel and thickness are divided where their noise differs most: those of one patient by
    1.25 times or more, those of several patients by 1.5 times or more.
    """
    found: dict[str, Dose] = {one.row.series: "" for one in series}
    groups: dict[object, list[SeriesFacts]] = defaultdict(list)
    for one in series:
        if one.pixels is None or not math.isfinite(one.noise_hu):
            continue
        if one.pixels.level.unknown:
            groups[one.row.kernel, round(one.row.thickness_mm, 1), round(one.row.spacing_mm, 1)].append(one)
        else:
            found[one.row.series] = "full_dose" if one.pixels.level.is_routine else "low_dose"
    for group in groups.values():
        found |= _divided(group, _APART)
        for patient in {one.patient for one in group}:
            found |= _divided([one for one in group if one.patient == patient], _APART_IN_PATIENT)
    return found


def _divided(group: Sequence[SeriesFacts], apart: float) -> dict[str, Dose]:
    """Return the doses of series of one kind, divided at the widest gap of their noise; nothing if it is narrow."""
    order = sorted(group, key=lambda one: one.noise_hu)
    gaps = [b.noise_hu / a.noise_hu if a.noise_hu > 0 else 1.0 for a, b in pairwise(order)]
    if not gaps or max(gaps) < apart:
        return {}
    cut = gaps.index(max(gaps)) + 1
    return {one.row.series: "full_dose" if place < cut else "low_dose" for place, one in enumerate(order)}


def proposed_doses(facts: Facts, measured: dict[str, Dose]) -> dict[int, Dose]:
    """Return the dose to set for each source whose series have no label, where the noise of all of them agrees."""
    found: dict[int, Dose] = {}
    for number in range(len(facts.sources)):
        own = [one for one in facts.series if one.source == number]
        doses = {measured[one.row.series] for one in own}
        if own and not any(one.row.dose for one in own) and len(doses) == 1 and "" not in doses:
            found[number] = doses.pop()
    return found


def disagreements(facts: Facts) -> Iterator[str]:
    """Yield a sentence for each low-dose label that the noise contradicts, compared with full dose of its kind."""
    noise = {one.row.series: one.noise_hu for one in facts.series}
    yield from contradictions([one.row for one in facts.series], noise)


def noise_by_dose(series: Sequence[SeriesFacts], dose: Dose) -> float:
    """Return the median noise of the series of a dose in HU; NaN if there is none."""
    known = [one.noise_hu for one in series if one.row.dose == dose and math.isfinite(one.noise_hu)]
    return median(known) if known else math.nan
