"""Check that the output of another program shows the slices that it is compared with, in their order."""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter

from ctcycle.data.pair_check import HUImage, anatomy_correlation
from ctcycle.errors import SeriesError

_MEASURED = 12
"""Slices of a series that are compared, evenly spread."""

_OTHER_ANATOMY = 0.3
"""Slices of different patients correlate within ±0.13, however blurred."""

_BLURS_PX = (3.0, 6.0)
"""Slices of the low dose are also compared after these blurs, so that a strong smoothing is no other anatomy."""

_SAME_ANATOMY = 0.65
_MUCH_BETTER = 0.7
"""Another slice matches better if its distance from correlation 1 is smaller by this factor."""


def check_same_slices(where: str, low: HUImage, output: HUImage, places: Mapping[int, int]) -> None:
    """Compare an output with its low-dose series, slice by slice.

    Args:
        where: what the output is, for messages.
        low: the low-dose series (S, H, W) in HU.
        output: the output (S, H, W) in HU.
        places: index in the output of slices of the low-dose series.

    Raises:
        SeriesError: most slices show other anatomy, or match other slices of the output clearly better.
    """
    indices = sorted(places)
    chosen = [indices[number] for number in np.unique(np.linspace(0, len(indices) - 1, _MEASURED).round().astype(int))]
    own = {index: anatomy_correlation(low[index], output[places[index]]) for index in chosen}
    better = {
        index: other
        for index in chosen
        if (other := _better(low[index], output, places[index], own[index])) is not None
    }
    if 2 * len(better) > len(chosen):
        first, other = next(iter(better.items()))
        raise SeriesError(
            f"{where} seems to have its slices in another order: {len(better)} of {len(chosen)} slices that were "
            f"compared match another slice better (slice {first} of the low dose is like slice {other} of the output); "
            "export them in the order of the low dose, or set guard=false"
        )
    middle = float(np.median([_at_any_blur(low[i], output[places[i]], same) for i, same in own.items()]))
    if middle < _OTHER_ANATOMY:
        raise SeriesError(
            f"{where} shows other anatomy (correlation {middle:.2f}, needed {_OTHER_ANATOMY:g}); check that it belongs "
            "to this series, or set guard=false"
        )


def _at_any_blur(image: HUImage, output: HUImage, same: float) -> float:
    """Return the highest correlation of an output with an image or its blurs; ``same`` is that with the image."""
    if same >= _OTHER_ANATOMY:
        return same
    hu = np.asarray(image, dtype=np.float32)
    return max(same, *(anatomy_correlation(gaussian_filter(hu, blur), output) for blur in _BLURS_PX))


def _better(image: HUImage, output: HUImage, place: int, own: float) -> int | None:
    """Return a slice of the output that matches an image clearly better than the one at its place; None if none does.

    Its neighbours are compared, and the slice that would be in its place if the order were reversed.
    """
    last = output.shape[0] - 1
    others = {place - 1, place + 1, last - place} - {place}
    found = [(anatomy_correlation(image, output[other]), other) for other in others if 0 <= other <= last]
    match, best = max(found, default=(0.0, place))
    return best if match >= _SAME_ANATOMY and 1 - match < _MUCH_BETTER * (1 - own) else None
