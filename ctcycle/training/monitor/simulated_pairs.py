"""Pairs without a low-dose scan: full-dose slices, and the same with the noise by which the two domains differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from ctcycle.metrics.lesions.insertion import SliceFilter
from ctcycle.training.simulated_noise.calibration import PATCH_PX, Spectrum, kernel_of, mean_power, transfer

Image = NDArray[np.float64]

_SEED = 20161
_WHITE_PATCHES, _KERNEL_PX = 256, 15
_BODY_HU, _BODY_SMOOTH_PX = -500.0, 3.0


@dataclass(frozen=True)
class SimulatedPair:
    """A full-dose slice, and the same with added noise.

    Attributes:
        full: (H, W) in HU.
        low: (H, W) in HU.
        body: (H, W) bool, where the denoiser is judged: outside, real noise is much weaker than the added one.
    """

    full: Image
    low: Image
    body: NDArray[np.bool_]


def simulated_pairs(full: Sequence[NDArray[np.int16]], noise: Spectrum, more: Spectrum) -> tuple[SimulatedPair, ...]:
    """Add noise to full-dose slices so that they are as noisy as low dose; the same noise in every run.

    The noise is stationary: it has the spectrum of flat soft tissue everywhere. That is enough to rank the checkpoints
    of one training, and too little for a figure to publish.

    Args:
        full: (H, W) each, in HU.
        noise: power of the full-dose noise by ring, see `ctcycle.training.simulated_noise.calibration.mean_power`.
        more: power of the low-dose noise.
    """
    rng = np.random.default_rng(_SEED)
    white = mean_power(list(rng.normal(size=(_WHITE_PATCHES, PATCH_PX, PATCH_PX))))
    kernel = kernel_of(transfer(more, noise, white), _KERNEL_PX).astype(np.float64)
    return tuple(_pair(image.astype(np.float64), kernel, rng) for image in full)


def _pair(full: Image, kernel: Image, rng: np.random.Generator) -> SimulatedPair:
    noise = signal.fftconvolve(rng.normal(size=full.shape), kernel, mode="same")
    return SimulatedPair(full, full + noise, ndimage.gaussian_filter(full, _BODY_SMOOTH_PX) > _BODY_HU)


def error_gain_db(denoise: SliceFilter, pairs: Sequence[SimulatedPair]) -> float:
    """Return by how many dB denoising lowers the RMSE in the body against full dose; NaN if it cannot be measured."""
    before = [(pair.low - pair.full)[pair.body] for pair in pairs]
    after = [(np.asarray(denoise(pair.low), dtype=np.float64) - pair.full)[pair.body] for pair in pairs]
    errors = [float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) if pairs else 0.0 for parts in (before, after)]
    return 20 * math.log10(errors[0] / errors[1]) if min(errors, default=0.0) > 0 else math.nan
