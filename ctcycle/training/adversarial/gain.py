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
    """Whether the gain is to be measured, and matters to the view."""
    return spec.gain == "auto" and spec.view == "highpass"


def with_gain(spec: DiscriminatorSpec, gain: float) -> DiscriminatorSpec:
    """Return the spec with ``gain`` where it says "auto"."""
    return replace(spec, gain=gain) if spec.gain == "auto" else spec


def measure_gain(slices: Sequence[NDArray[np.int16]], spec: DiscriminatorSpec, hu_per_unit: float) -> float:
    """Return the gain that gives the noise of low-dose slices a standard deviation of 1 in a high-pass view.

    Measured in the flat soft tissue of up to 32 slices spread over all, the median of their deviations (from the median
    absolute deviation, which borders between organs hardly move).

    Args:
        slices: low-dose slices (H, W), HU.
        spec: of the view.
        hu_per_unit: HU that 1 stands for in the network's range.

    Raises:
        SeriesError: none of the slices shows enough soft tissue.
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
            "low-dose slices: too little soft tissue to measure the noise; set discriminator.gain to a number"
        )
    return hu_per_unit / float(np.median(found))
