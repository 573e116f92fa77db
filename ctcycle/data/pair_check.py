"""The pairing guard: checks that low dose and full dose show the same anatomy, slice by slice.

Supervised training on mismatched slices, or on crops from different positions, collapses to a nearly constant image
without any error message (this is how the report's supervised model failed). So the match is checked before training.
Slices of different patients hardly correlate, so a minimum correlation refuses them. Neighbouring slices of one patient
correlate up to 0.98, so a pairing that is off by one slice shows only in comparison: the neighbour matches better.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ctcycle.data.pairs import SlicePair
from ctcycle.errors import ManifestError

_SOFT_HU = (-200.0, 300.0)
_BODY_HU = -500.0
_FEWEST_PIXELS = 100
_NEIGHBOURS_OF = 24
"""Slices of a series that are also compared with their neighbours; they are spread evenly over the series."""

_MUCH_BETTER = 0.7
"""A neighbour matches better if its distance from correlation 1 is smaller by this factor.

Where pairs are off by one slice the factor is 0.1 to 0.65 (real slices 2 to 5 mm apart, 60 HU of noise). In true pairs
it is above 0.78, even if noise hides most of the anatomy.
"""

_CLEARLY_LESS = 0.9
"""Of the noise of the full dose."""

_STD_PER_MEDIAN = 1.4826
"""Standard deviation of Gaussian noise over the median of its absolute values."""

_FARTHEST = 10
_MEASURED = 8

_log = logging.getLogger(__name__)

HUImage = NDArray[np.number]
Progress = Callable[[Iterable[int]], Iterable[int]]


class FullDoseSlices(Protocol):
    """The full-dose slices of pairs, with access to the neighbours of each in its series."""

    def __getitem__(self, number: int, /) -> HUImage:
        """Return the slice (H, W) of pair ``number``, in HU."""

    def neighbour(self, number: int, step: int) -> HUImage | None:
        """Return the slice ``step`` slices after that of pair ``number``; None beyond the ends of the series."""


@dataclass(frozen=True)
class _Anatomy:
    """A slice (H, W) prepared for comparison: its HU, its body mask, and its soft tissue band-passed."""

    hu: NDArray[np.float32]
    body: NDArray[np.bool_]
    band: NDArray[np.float32]


@dataclass(frozen=True)
class _Match:
    """Correlation of a low-dose slice with its full-dose slice, and by step with the neighbours of that slice."""

    number: int
    own: float
    neighbours: dict[int, float]

    def prefers(self, step: int, threshold: float) -> bool:
        """Return whether the neighbour shows the same anatomy, and clearly more so than the slice of the pair."""
        found = self.neighbours[step]
        return found >= threshold and 1 - found < _MUCH_BETTER * (1 - self.own)


def anatomy_correlation(low: HUImage, full: HUImage) -> float:
    """Return the correlation in [-1, 1] of the anatomy of two slices (H, W) in HU, insensitive to noise and outline.

    Both are clipped to soft tissue, band-passed (Gaussians of 2 and 12 px) and compared inside the body. It is 0.99 for
    real pairs of quarter and full dose and within ±0.13 for slices of different patients (22 slices of the Mayo 2016
    challenge), and 0.6 to 0.93 for adjacent slices of one patient. It is 1.0 if there is no body to compare.
    """
    return _correlation(_anatomy(low), _anatomy(full))


def _anatomy(image: HUImage) -> _Anatomy:
    hu = np.asarray(image, dtype=np.float32)
    soft = hu.clip(*_SOFT_HU)
    band: NDArray[np.float32] = gaussian_filter(soft, 2) - gaussian_filter(soft, 12)
    return _Anatomy(hu, gaussian_filter(hu, 4) > _BODY_HU, band)


def _correlation(first: _Anatomy, second: _Anatomy) -> float:
    body = first.body | second.body
    if body.sum() < _FEWEST_PIXELS:
        return 1.0
    one, other = first.band[body], second.band[body]
    if min(one.std(), other.std()) == 0:
        return 1.0 if np.array_equal(first.hu, second.hu) else 0.0
    return float(np.corrcoef(one, other)[0, 1])


@dataclass(frozen=True)
class PairGuard:
    """The check that the two slices of each pair show the same anatomy.

    Attributes:
        threshold: lowest correlation accepted as the same anatomy.
        remedy: the end of an error message: what to do other than correct the pairs.
    """

    threshold: float
    remedy: str

    def check(
        self, low: Sequence[HUImage], full: FullDoseSlices, pairs: Sequence[SlicePair], progress: Progress = iter
    ) -> bool:
        """Compare all pairs, and some slices of each series also with the neighbours of their full-dose slices.

        Args:
            low: low-dose slices (H, W) in HU.
            full: full-dose slices of the same pairs.
            pairs: the references of the slices, for grouping and messages.
            progress: wraps the indices of the pairs in a progress bar.

        A low dose with less noise than its full dose only causes a warning.

        Returns:
            Whether there was no warning.

        Raises:
            ManifestError: two series are off by whole slices, or the two slices of a pair do not match or are the same.
        """
        groups = _by_series(pairs)
        chosen = {number for group in groups.values() for number in _spread(group)}
        order = [number for group in groups.values() for number in group]
        offset, swapped = "", False
        for _, numbers in groupby(progress(order), lambda number: _series(pairs[number])):
            matches = [_match(low, full, number, steps=(-1, 1) if number in chosen else ()) for number in numbers]
            group = [match.number for match in matches]
            found = self._offset(low, full, pairs, matches)
            if not found:
                self._check_strangers(pairs, matches)
                self._check_different(low, full, pairs, group)
                swapped |= _warn_if_swapped(low, full, pairs, group)
            offset = offset or found
        if offset:  # reported last: if other pairs match nowhere, slices are mixed up rather than off by some
            raise ManifestError(offset)
        return not swapped

    def _offset(
        self, low: Sequence[HUImage], full: FullDoseSlices, pairs: Sequence[SlicePair], matches: Sequence[_Match]
    ) -> str:
        """Return an error message if most slices clearly match the next slice better, or most the previous one."""
        for step in (-1, 1):
            known = [match for match in matches if step in match.neighbours]
            better = [match.number for match in known if match.prefers(step, self.threshold)]
            if 2 * len(better) > len(known):
                distance = _distance(low, full, better, step)
                low_series, full_series = _series(pairs[better[0]])
                return (
                    f"low dose (series {low_series}) and full dose (series {full_series}) seem to be off by "
                    f"{'one slice' if distance == 1 else f'{distance} slices'}: {len(better)} of {len(known)} "
                    f"low-dose slices match {_NAMES[step, distance == 1]} full-dose slice better; check the slice "
                    f"positions or numbers of both series, or {self.remedy}"
                )
        return ""

    def _check_different(
        self, low: Sequence[HUImage], full: FullDoseSlices, pairs: Sequence[SlicePair], group: Iterable[int]
    ) -> None:
        for number in group:
            if np.ptp(low[number]) and np.array_equal(low[number], full[number]):
                raise ManifestError(
                    f"{pair_name(pairs[number])}: both have the same pixels, so there is no noise to remove; check the "
                    f"folders of both doses, or {self.remedy}"
                )

    def _check_strangers(self, pairs: Sequence[SlicePair], matches: Iterable[_Match]) -> None:
        for match in matches:
            if match.own < self.threshold:
                raise ManifestError(
                    f"{pair_name(pairs[match.number])}: anatomy does not match (correlation {match.own:.2f}, minimum "
                    f"{self.threshold:g}); check the patient and the positions of both series, or {self.remedy}"
                )


_NAMES = {(-1, True): "the previous", (1, True): "the next", (-1, False): "an earlier", (1, False): "a later"}


def _by_series(pairs: Sequence[SlicePair]) -> dict[tuple[str, str], list[int]]:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        groups[_series(pair)].append(number)
    return groups


def _series(pair: SlicePair) -> tuple[str, str]:
    return pair.low_dose.series, pair.full_dose.series


def _spread(group: Sequence[int]) -> Iterator[int]:
    places = np.linspace(0, len(group) - 1, min(len(group), _NEIGHBOURS_OF))
    return (group[place] for place in places.astype(int))


def _match(low: Sequence[HUImage], full: FullDoseSlices, number: int, steps: Iterable[int]) -> _Match:
    mine = _anatomy(low[number])
    others = {step: other for step in steps if (other := full.neighbour(number, step)) is not None}
    neighbours = {step: _correlation(mine, _anatomy(other)) for step, other in others.items()}
    return _Match(number, _correlation(mine, _anatomy(full[number])), neighbours)


def _distance(low: Sequence[HUImage], full: FullDoseSlices, numbers: Sequence[int], step: int) -> int:
    """Return by how many slices the pairs seem to be off: the number of steps up to which the match improves."""
    for distance in range(1, _FARTHEST):
        steps = (distance * step, (distance + 1) * step)
        found = [_match(low, full, number, steps).neighbours for number in numbers[:_MEASURED]]
        both = [tuple(match.values()) for match in found if len(match) == len(steps)]
        if not both or np.mean([further - near for near, further in both]) <= 0:
            return distance
    return _FARTHEST


def _warn_if_swapped(
    low: Sequence[HUImage], full: FullDoseSlices, pairs: Sequence[SlicePair], group: Sequence[int]
) -> bool:
    """Warn if most low-dose slices have clearly less noise than their full-dose slices, and return whether they do."""
    chosen = list(_spread(group))[:: max(1, min(len(group), _NEIGHBOURS_OF) // _MEASURED)]
    measured = [[_fine_noise(image) for image in (low[number], full[number])] for number in chosen]
    known = [pair for pair in measured if np.isfinite(pair).all()]
    fewer = sum(low_hu < _CLEARLY_LESS * full_hu for low_hu, full_hu in known)
    swapped = 2 * fewer > len(known)
    if swapped:
        low_hu, full_hu = np.median(known, axis=0)
        low_series, full_series = _series(pairs[group[0]])
        _log.warning(
            "low dose (series %s) has %.0f HU of fine noise, full dose (series %s) %.0f HU; the doses may be swapped, "
            "or the low dose was denoised",
            low_series,
            low_hu,
            full_series,
            full_hu,
        )
    return swapped


def _fine_noise(image: HUImage) -> float:
    """Return the noise of a slice without its low frequencies, in HU; NaN without a body.

    The median over the body ignores edges, and no uniform tissue is needed, so small slices can also be compared.
    """
    hu = np.asarray(image, dtype=np.float32)
    body = gaussian_filter(hu, 4) > _BODY_HU
    if body.sum() < _FEWEST_PIXELS:
        return float("nan")
    return _STD_PER_MEDIAN * float(np.median(np.abs(hu - gaussian_filter(hu, 2))[body]))


def pair_name(pair: SlicePair) -> str:
    """Return the name of a pair for messages: series and index of both slices."""
    low, full = (f"series {ref.series} slice {ref.slice_index}" for ref in pair)
    return f"low dose ({low}) and full dose ({full})"
