"""The gain of a discriminator's high-pass view, measured on low-dose slices."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ctcycle.errors import SeriesError
from ctcycle.metrics.noise import highpass, tissue_windows
from ctcycle.networks.specs import DiscriminatorSpec

_GAIN_SLICES = 32


def needs_gain(spec: DiscriminatorSpec) -> bool:
    """Return whether the gain has to be measured: it is "auto" and the view uses it."""
    return spec.gain == "auto" and spec.view == "highpass"


def with_gain(spec: DiscriminatorSpec, gain: float) -> DiscriminatorSpec:
    """Return the spec with its gain set to ``gain`` if it was "auto"."""
    return replace(spec, gain=gain) if spec.gain == "auto" else spec


def measure_gain(slices: Sequence[NDArray[np.int16]], spec: DiscriminatorSpec, hu_per_unit: float) -> float:
    """Return the gain that scales low-dose noise to a standard deviation of 1 in the high-pass view.

    The noise is measured in flat soft tissue of up to 32 evenly spaced slices. Each slice's standard deviation is
    estimated from the median absolute deviation, which edges between organs barely affect; the result is the median
    over the slices.

    Args:
        slices: low-dose slices (H, W), HU.
        spec: the discriminator's spec.
        hu_per_unit: HU per unit of the network's range.

    Raises:
        SeriesError: no slice has enough soft tissue.
    """
    found = []
    for number in np.linspace(0, len(slices) - 1, min(_GAIN_SLICES, len(slices))).astype(int):
        image = slices[number].astype(np.float32)
        tissue = tissue_windows(image)
        if tissue.any():
            noise = highpass(image, spec.sigma_px)[tissue]
            found.append(1.4826 * float(np.median(np.abs(noise))))
    if not found or not np.median(found) > 0:
        raise SeriesError(
            "low-dose slices: too little soft tissue to measure noise; set discriminator.gain to a number"
        )
    return hu_per_unit / float(np.median(found))
