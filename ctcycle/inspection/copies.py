"""Finds slices with the same pixels: repeats in a series, a scan under two patients, one scan in both domains."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ctcycle.inspection.facts import Copies, SeriesFacts

BOTH_DOSES = "the same pixels are labelled low dose and full dose"
TWO_PATIENTS = "the same pixels belong to two patients"
REPEATED = "the same pixels occur twice"


def find_copies(series: Sequence[SeriesFacts]) -> list[Copies]:
    """Return which series repeat slices of each other, the worst kind first.

    Slices are compared by the digest of their pixels in HU, so copies in another file format are also found.
    """
    owners: dict[str, list[SeriesFacts]] = defaultdict(list)
    for one in series:
        for digest in one.pixels.digests.values() if one.pixels else ():
            owners[digest].append(one)
    shared: Counter[tuple[str, str, str]] = Counter()
    for found in owners.values():
        for first, second in _repeats(found):
            shared[first.row.series, second.row.series, _kind(first, second)] += 1
    kinds = (BOTH_DOSES, TWO_PATIENTS, REPEATED)
    listed = [Copies(first, second, count, kind) for (first, second, kind), count in shared.items()]
    return sorted(listed, key=lambda one: (kinds.index(one.kind), -one.slices, one.first, one.second))


def _repeats(found: Sequence[SeriesFacts]) -> Iterator[tuple[SeriesFacts, SeriesFacts]]:
    """Yield the first owner of a slice with each of the others."""
    first, *others = sorted(found, key=lambda one: one.row.series)
    for other in others:
        yield first, other


def _kind(first: SeriesFacts, second: SeriesFacts) -> str:
    if {first.row.dose, second.row.dose} == {"low_dose", "full_dose"}:
        return BOTH_DOSES
    return REPEATED if first.patient == second.patient else TWO_PATIENTS
