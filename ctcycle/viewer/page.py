"""The page of one series: pictures of its slices and the script that shows them, in one HTML file."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from ctcycle.ct.series import SeriesInfo, check_hu
from ctcycle.ct.series_io import iterate_hu, sample_slices
from ctcycle.errors import SeriesError
from ctcycle.metrics.protocols import body_mask
from ctcycle.viewer.matching import Match
from ctcycle.viewer.packing import (
    CURVE,
    HU,
    RESIDUAL_HU,
    RESIDUAL_ZERO,
    STEPS,
    Region,
    choose_step,
    display_error,
    jpeg,
    levels,
)

PRESETS = {"soft tissue": (400, 40), "lung": (1500, -600), "bone": (1800, 400)}
"""Width and level of the windows to choose from, in HU."""

_MARGIN_PX = 16
_SAMPLE = 8
_OUTLINED = 24
"""Slices in which the body is outlined, to crop the pictures to it."""
_OWN_BYTES = 40_000
"""Size of a page without its pictures, at most."""

Progress = Callable[[Sequence[int]], Iterator[int]]


@dataclass(frozen=True)
class PageLimits:
    """What bounds the size of a page.

    Attributes:
        slices: most slices, evenly spread.
        megabytes: size of the file.
        assume_hu: show NIfTI and npy values that do not look like HU.
    """

    slices: int = 200
    megabytes: float = 30.0
    assume_hu: bool = False


def series_page(match: Match, number: int, limits: PageLimits, progress: Progress = iter) -> str:
    """Return the page of a series as HTML; no name, path or date of the files is in it.

    Slices are read one by one, so memory grows only with the size of the page.

    Args:
        match: the series before and after.
        number: its number, shown as its name.
        limits: what bounds the size.
        progress: wraps the numbers of the slices while they are packed.

    Raises:
        SeriesError: a slice cannot be read, sizes differ, or values do not look like HU.
    """
    before, after = match.before, match.after
    if before.shape != after.shape:
        raise SeriesError(f"{after.path}: has {after.shape} slices, rows and columns, its source {before.shape}")
    samples = [sample_slices(info, _SAMPLE) for info in (before, after)]
    if not limits.assume_hu:
        check_hu(samples[0])
    region = body_rectangle(sample_slices(before, _OUTLINED).hu)
    shown = np.unique(np.linspace(0, before.shape[0] - 1, min(limits.slices, before.shape[0])).round().astype(int))
    pairs = [(region.cut(one), region.cut(other)) for one, other in zip(*(s.hu for s in samples), strict=True)]
    packed = [levels(*pair) for pair in pairs]
    most_bytes = limits.megabytes * 1e6 - _OWN_BYTES
    best = choose_step(packed, len(shown), most_bytes)
    for step in STEPS[STEPS.index(best) :]:  # the next one only if the sample was too small a part
        pictures = list(_pictures(match, region, step, progress(shown.tolist()), assume_hu=limits.assume_hu))
        if sum(map(len, pictures)) <= most_bytes:
            break
    facts = _facts(before, region, shown.tolist(), number) | {"error": round(display_error(pairs, step), 1)}
    return (
        _environment()
        .get_template("viewer.html.j2")
        .render(
            number=number, facts=json.dumps(facts), pictures=json.dumps(pictures), presets=PRESETS, count=len(shown)
        )
    )


def _facts(info: SeriesInfo, region: Region, shown: list[int], number: int) -> dict[str, object]:
    """Return what the script needs to know."""
    rows_mm, columns_mm = info.spacing_mm[1:]
    return {
        "number": number,
        "rows": region.rows,
        "columns": region.columns,
        "aspect": rows_mm / columns_mm if rows_mm and columns_mm else 1.0,
        "slices": [index + 1 for index in shown],
        "total": info.shape[0],
        "curve": CURVE,
        "zero": RESIDUAL_ZERO,
        "step": RESIDUAL_HU,
        "presets": PRESETS,
    }


def _pictures(match: Match, region: Region, step: int, shown: Iterator[int], *, assume_hu: bool) -> Iterator[str]:
    """Yield the pictures as base64, reading both series in step."""
    both = zip(iterate_hu(match.before, assume_hu), iterate_hu(match.after, assume_hu=True), strict=True)
    place = -1
    for index in shown:
        while place < index:
            before, after = next(both)
            place += 1
        yield b64encode(jpeg(levels(region.cut(before), region.cut(after)), step)).decode()


def body_rectangle(slices: HU) -> Region:
    """Return the rectangle around the body in all slices (S, H, W) in HU, with a margin."""
    body = np.any([body_mask(hu) for hu in slices], axis=0)
    height, width = body.shape
    if not body.any():
        return Region(0, 0, height, width)
    top, bottom = _ends(body.any(axis=1))
    left, right = _ends(body.any(axis=0))
    return Region(top, left, bottom - top, right - left)


def _ends(occupied: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the range of indices to show along an axis."""
    first, last = (int(end) for end in np.flatnonzero(occupied)[[0, -1]])
    return max(0, first - _MARGIN_PX), min(len(occupied), last + 1 + _MARGIN_PX)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ctcycle.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
