"""Which lesion each site gets in each pass of the denoiser."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ctcycle.metrics.lesions.insertion import LESIONS, Lesion


def _mixed() -> tuple[Lesion, ...]:
    """Return `LESIONS` in a random order in which both signs of a lesion are 9 apart, also from end to start."""
    *pairs, dot = LESIONS[::2]
    order = [pairs[number] for number in np.random.default_rng(0).permutation(len(pairs))]
    signs = [(-1) ** number for number in range(len(order))]
    first = [replace(lesion, contrast_hu=sign * lesion.contrast_hu) for lesion, sign in zip(order, signs, strict=True)]
    return (*first, dot, *(replace(lesion, contrast_hu=-lesion.contrast_hu) for lesion in first))


_SEQUENCE = _mixed()
Pass = tuple[Lesion, ...]
"""A lesion for each site of a slice."""


def lesion_passes(sites: Sequence[int], responses: int) -> list[list[Pass]]:
    """Return the passes of each slice: as few as give every lesion the wanted number of responses.

    In a pass, the sites of a slice get different lesions. Over all passes and slices each lesion is inserted equally
    often, give or take one, and never twice at a site; with up to 9 passes a site gets one sign of a lesion. With few
    sites, every lesion is inserted at all of them.

    Args:
        sites: number of sites of each slice, at least 1 together.
        responses: wanted of each lesion.
    """
    passes = min(len(LESIONS), math.ceil(responses * len(LESIONS) / sum(sites)))
    stride = passes if passes < len(LESIONS) else 1
    plan: list[list[Pass]] = []
    first = 0
    for count in sites:
        places = range(first, first + count)
        plan.append([tuple(_lesion(place * stride + number) for place in places) for number in range(passes)])
        first += count
    return plan


def _lesion(number: int) -> Lesion:
    return _SEQUENCE[number % len(_SEQUENCE)]
