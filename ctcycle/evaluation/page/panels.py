"""Slices to show, with what each method made of them, from the cache where it has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctcycle.evaluation.cache import ResultCache, code_digest
from ctcycle.evaluation.methods.method import Method, digest_of
from ctcycle.evaluation.pairs import HUImage, LowDoseSlice, Slices


@dataclass(frozen=True, eq=False)
class PanelSlice:
    """A slice to show.

    Attributes:
        item: the slice.
        outputs: (H, W) in HU by name of the method.
    """

    item: LowDoseSlice
    outputs: Mapping[str, HUImage]


def panel_slices(
    slices: Slices, methods: Sequence[Method], most: int, digest: str, cache: ResultCache
) -> list[PanelSlice]:
    """Return up to ``most`` slices, evenly spaced, and compute only the outputs that the cache does not have.

    Args:
        slices: all slices.
        methods: to show.
        most: number of slices; 0 for none.
        digest: of the slices, from `pairs.slices_digest`.
        cache: where outputs are read and kept.

    Raises:
        SeriesError: an output has another shape than its slice, or values that are not finite.
        OutputError: the cache cannot be written.
    """
    if most == 0:
        return []
    places = set(np.linspace(0, len(slices) - 1, min(most, len(slices))).astype(int).tolist())
    return [
        PanelSlice(item, {method.name: _output(item, method, digest, cache) for method in methods})
        for number, item in enumerate(slices)
        if number in places
    ]


def _output(item: LowDoseSlice, method: Method, digest: str, cache: ResultCache) -> HUImage:
    key = digest_of(method.name, method.digest, "output", digest, code_digest(), item.series, item.slice_index)
    known = cache.read_image(key)
    if known is None:
        known = method.output(item)
        cache.write_image(key, known)
    return known
