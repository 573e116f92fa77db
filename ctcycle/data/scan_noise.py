"""What a scan finds in the pixels: series that cannot be used, and noise that contradicts the label of its dose."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from ctcycle.ct.measures import soft_tissue_noise
from ctcycle.ct.series import SeriesInfo, Skipped, check_hu
from ctcycle.ct.series_io import iterate_hu, sample_slices
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.pairs import row_pairs
from ctcycle.errors import SeriesError

_SAMPLED = 5
"""Slices of a series that are decoded."""

_CLEARLY_LESS = 0.9
"""Of the noise of the other series of a patient."""

_FAR_LESS = 0.75
"""Of the noise of series of other patients, whose size also matters."""


class Measured(NamedTuple):
    """What was found in the pixels of series.

    Attributes:
        usable: the rows whose series can be used, in their order.
        noise_hu: the noise of each in HU, by its name; NaN without soft tissue.
        unusable: the other series, with reasons.
    """

    usable: list[ManifestRow]
    noise_hu: dict[str, float]
    unusable: list[Skipped]


def merged(parts: Sequence[Measured], order: Sequence[str]) -> Measured:
    """Return the measurements of all parts of a list of series as one, the rows in the order of their names."""
    place = {name: number for number, name in enumerate(order)}
    usable = sorted((row for part in parts for row in part.usable), key=lambda row: place[row.series])
    noise_hu = {name: noise for part in parts for name, noise in part.noise_hu.items()}
    return Measured(usable, noise_hu, [item for part in parts for item in part.unusable])


def measure(
    rows: Sequence[ManifestRow],
    infos: Mapping[str, SeriesInfo],
    progress: Callable[[int, int], object] | None = None,
) -> Measured:
    """Return the rows whose series can be used, their noise, and the series that cannot be used.

    Every slice is decoded once, as training does.

    Args:
        rows: rows of a manifest.
        infos: the series of each row, by the name of the row.
        progress: called with the numbers of slices done and of all slices, once at the start and after each slice.
    """
    usable: list[ManifestRow] = []
    noise_hu: dict[str, float] = {}
    unusable: list[Skipped] = []
    report = progress or (lambda _done, _all: None)
    done, total = 0, sum(infos[row.series].shape[0] for row in rows)
    report(done, total)
    for row in rows:
        info = infos[row.series]
        try:
            noise_hu[row.series] = series_noise(info)
            for number, _hu in enumerate(iterate_hu(info), done + 1):  # only for what it raises
                report(number, total)
        except SeriesError as error:
            unusable.append(Skipped(info.path, str(error).removeprefix(f"{info.path}: "), refused=True))
        else:
            usable.append(row)
        done += info.shape[0]
        report(done, total)
    return Measured(usable, noise_hu, unusable)


def series_noise(info: SeriesInfo) -> float:
    """Return the median noise of a few slices of a series in HU; NaN if they have too little soft tissue.

    Raises:
        SeriesError: a slice cannot be decoded, or does not look like HU.
    """
    sample = sample_slices(info, _SAMPLED)
    check_hu(sample)
    known = [noise for noise in map(soft_tissue_noise, sample.hu) if math.isfinite(noise)]
    return median(known) if known else math.nan


def contradictions(rows: Sequence[ManifestRow], noise_hu: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence for each low-dose series with less noise than comparable full-dose series.

    These are the matching series of its patient if there are any, otherwise those of its kernel and slice thickness.

    Args:
        rows: rows of a manifest.
        noise_hu: the noise of each, by name; NaN if unknown.
    """
    paired: dict[str, list[ManifestRow]] = defaultdict(list)
    for low, full in row_pairs(rows):
        paired[low.series].append(full)
    alike: dict[tuple[str, float], list[ManifestRow]] = defaultdict(list)
    for row in rows:
        if row.dose == "full_dose":
            alike[_kind(row)].append(row)
    for row in rows:
        own = paired.get(row.series)
        others = (own or alike[_kind(row)]) if row.dose == "low_dose" else []
        known = [noise_hu[other.series] for other in others if math.isfinite(noise_hu[other.series])]
        if known and noise_hu[row.series] < (_CLEARLY_LESS if own else _FAR_LESS) * median(known):
            yield (
                f"series {row.series} is labelled low dose, but its noise is {noise_hu[row.series]:.0f} HU, and "
                f"{median(known):.0f} HU in full-dose series of {'its patient' if own else 'the same kernel'}; check "
                "the column 'dose', the kernels, and whether it was denoised"
            )


def _kind(row: ManifestRow) -> tuple[str, float]:
    return row.kernel, round(row.thickness_mm, 2)
