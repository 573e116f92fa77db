"""The error that remains when a linear filter does its best: the noise of the reference that no input predicts.

The full-dose slice that an output is compared with is noisy itself. A linear, shift-invariant filter of the low-dose
slice predicts, at each frequency, the share γ² of the power of full dose (the squared coherence of the two) and leaves
the rest (Wiener 1949; Bendat and Piersol, Random Data, ch. 6). An RMSE is therefore read as a multiple of its floor.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.metrics.spectral.spectra import detrended_spectra, mean_power, spectrum_rings

_NEGLIGIBLE = 1e-20
"""Power below this share of the whole is rounding: detrending leaves no more of ring 0."""


@dataclass(frozen=True)
class ErrorFloor:
    """The least error to full dose that a linear filter of low dose can reach, in flat patches.

    Attributes:
        patches: how many pairs were averaged.
        frequency_per_px: (R), mean frequency of each ring of the spectrum.
        coherence: (R), γ² without its bias; scatters around 0 where low and full dose share nothing.
        floor_hu: the floor of the root mean square error, after detrending.
        full_dose_noise_hu: root mean square of the detrended full-dose patches.
        floor_by_ring_hu: (R), what each ring contributes; the squares add up to ``floor_hu`` squared.
    """

    patches: int
    frequency_per_px: NDArray[np.float64]
    coherence: NDArray[np.float64]
    floor_hu: float
    full_dose_noise_hu: float
    floor_by_ring_hu: NDArray[np.float64]


@dataclass(frozen=True)
class ErrorOverFloor:
    """The error of a denoised image and how many times its floor it is.

    Attributes:
        error_hu: root mean square difference from full dose, detrended: a constant bias does not count.
        ratio: ``error_hu`` over the floor; 1 is the best that a linear filter does.
        error_by_ring_hu: (R), what each ring contributes; the squares add up to ``error_hu`` squared.
        ratio_by_ring: (R), the same by ring; NaN where the floor is zero.
    """

    error_hu: float
    ratio: float
    error_by_ring_hu: NDArray[np.float64]
    ratio_by_ring: NDArray[np.float64]

    def ratio_above(self, frequency_per_px: float, floor: ErrorFloor) -> float:
        """Return error over floor of all rings above a frequency in cycles per pixel."""
        rings = floor.frequency_per_px > frequency_per_px
        return _root_sum(self.error_by_ring_hu[rings]) / _root_sum(floor.floor_by_ring_hu[rings])


@dataclass(frozen=True)
class PairedPower:
    """Mean power of flat patches at both doses, from which the floor follows; see `spectra.mean_power`.

    Attributes:
        patches: how many pairs were averaged.
        low_hu2: (N, N), power of low dose.
        full_hu2: (N, N), power of full dose.
        shared_hu2: (N, N), cross power of the two.
    """

    patches: int
    low_hu2: NDArray[np.float64]
    full_hu2: NDArray[np.float64]
    shared_hu2: NDArray[np.float64]


def error_floor(low_hu: NDArray[np.floating], full_hu: NDArray[np.floating]) -> ErrorFloor:
    """Estimate the floor of the error from pairs of flat patches, see `floor_of_power`.

    Args:
        low_hu: (K, N, N), low dose, see `ctcycle.metrics.windows`.
        full_hu: (K, N, N), full dose at the same places.

    Raises:
        ValueError: the stacks differ in shape or are no stacks of square patches.
    """
    _check_paired(low_hu, full_hu)
    low, full = detrended_spectra(low_hu), detrended_spectra(full_hu)
    return floor_of_power(PairedPower(len(full), mean_power(low, low), mean_power(full, full), mean_power(low, full)))


def floor_of_power(power: PairedPower) -> ErrorFloor:
    """Estimate the floor of the error from the power of both doses, such as the mean over many slices.

    With S the ring means of the (cross) spectra of the detrended patches, γ² = S_lf² / (S_ll S_ff) and
    floor² = Σ S_ff (1 - γ²) / N², where S is scaled so that Σ S_ff / N² is the variance. K samples a ring (bins times
    patches) raise γ² by (1 - γ²)² / K, which is subtracted (Carter, Knapp and Nuttall 1973).
    """
    rings = spectrum_rings(len(power.full_hu2))
    s_ll, s_ff = rings.mean(power.low_hu2), rings.mean(power.full_hu2)
    coherence = _coherence(rings.mean(power.shared_hu2), s_ll, s_ff, power.patches * rings.bins)
    full_by_ring = rings.bins * s_ff
    left = np.maximum(full_by_ring * (1 - coherence), 0.0)
    return ErrorFloor(
        patches=power.patches,
        frequency_per_px=rings.frequency_per_px,
        coherence=coherence,
        floor_hu=float(np.sqrt(left.sum())),
        full_dose_noise_hu=float(np.sqrt(full_by_ring.sum())),
        floor_by_ring_hu=np.sqrt(left),
    )


def compare_with_floor(
    output_hu: NDArray[np.floating], full_hu: NDArray[np.floating], floor: ErrorFloor
) -> ErrorOverFloor:
    """Compare the error of denoised patches with its floor, in total and by ring.

    Args:
        output_hu: (K, N, N), the denoised image at the places of the pairs that gave ``floor``.
        full_hu: (K, N, N), full dose at these places.
        floor: from `error_floor`.

    Raises:
        ValueError: the stacks differ in shape, or are not as many patches as gave ``floor``.
    """
    _check_paired(output_hu, full_hu)
    bins = spectrum_rings(full_hu.shape[-1]).bins
    if len(full_hu) != floor.patches or len(bins) != len(floor.floor_by_ring_hu):
        raise ValueError(f"floor: shape {full_hu.shape}; pass the {floor.patches} patches that gave the floor")
    error = detrended_spectra(output_hu.astype(np.float64) - full_hu)
    return compare_power_with_floor(mean_power(error, error), floor)


def compare_power_with_floor(error_hu2: NDArray[np.float64], floor: ErrorFloor) -> ErrorOverFloor:
    """Compare the mean power (N, N) of the error in HU², see `spectra.mean_power`, with its floor."""
    by_ring = np.sqrt(spectrum_rings(len(error_hu2)).total(error_hu2))
    ratio_by_ring = np.full_like(by_ring, np.nan)
    np.divide(by_ring, floor.floor_by_ring_hu, out=ratio_by_ring, where=floor.floor_by_ring_hu > 0)
    total = _root_sum(by_ring)
    ratio = total / floor.floor_hu if floor.floor_hu > 0 else float("nan")
    return ErrorOverFloor(total, ratio, by_ring, ratio_by_ring)


def _coherence(
    s_lf: NDArray[np.float64], s_ll: NDArray[np.float64], s_ff: NDArray[np.float64], samples: NDArray[np.int64]
) -> NDArray[np.float64]:
    biased = np.zeros_like(s_ff)
    present = (s_ll > _NEGLIGIBLE * s_ll.sum()) & (s_ff > _NEGLIGIBLE * s_ff.sum())
    np.divide(s_lf**2, s_ll * s_ff, out=biased, where=present)
    unbiased: NDArray[np.float64] = np.where(present, biased - (1 - biased) ** 2 / samples, 0.0)
    return unbiased


def _root_sum(contributions_hu: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.sum(contributions_hu**2)))


def _check_paired(first: NDArray[np.floating], second: NDArray[np.floating]) -> None:
    if first.shape != second.shape:
        raise ValueError(f"floor: stacks of shapes {first.shape} and {second.shape}; cut the same windows of both")
