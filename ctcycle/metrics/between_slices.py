"""Change between slices: whether noise and texture continue from one slice to the next as in the reference.

A denoiser that works slice by slice may flicker, which a reader sees when scrolling and no measure of single slices
shows. Neighbouring slices of a scan share noise when they overlap; what is left of it should do so in the same degree.
Where the reference's own slices are independent (its change is 1), slices in the wrong order go unnoticed.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ctcycle.metrics.spectral.spectra import detrend
from ctcycle.metrics.windows import WINDOW_PX, choose_windows, cut_windows, flatness_map


@dataclass(frozen=True)
class BetweenSlices:
    """The change between neighbouring slices of an output and of its reference.

    Attributes:
        windows: how many windows were compared, each in two neighbouring slices.
        change: of the output: 1 for independent noise, 0 where slices repeat, up to 2 where they are opposite.
        reference_change: of the reference at the same places.
    """

    windows: int
    change: float
    reference_change: float

    @property
    def ratio(self) -> float:
        """Change of the output over the reference's: 1 is right, more is flicker, less is smoothing along z."""
        return self.change / self.reference_change if self.reference_change > 0 else float("nan")


def slice_change(first_hu: NDArray[np.floating], second_hu: NDArray[np.floating]) -> float:
    """Return Var(r₂ - r₁) / (Var r₁ + Var r₂) of the detrended patches r of neighbouring slices.

    1 - ρ where both have the same variance and the correlation ρ.

    Args:
        first_hu: (K, N, N), flat patches of one slice, HU.
        second_hu: (K, N, N), the same places in the next slice.

    Returns:
        The change; NaN where both are flat without any noise.

    Raises:
        ValueError: the stacks differ in shape or are no stacks of square patches.
    """
    if first_hu.shape != second_hu.shape:
        raise ValueError(f"between slices: shapes {first_hu.shape} and {second_hu.shape}; cut the same windows of both")
    first, second = detrend(first_hu), detrend(second_hu)
    noise = np.mean(first**2) + np.mean(second**2)
    return float(np.mean((second - first) ** 2) / noise) if noise > 0 else float("nan")


def change_between_slices(
    output_hu: NDArray[np.floating], reference_hu: NDArray[np.floating], size: int = WINDOW_PX
) -> BetweenSlices:
    """Compare the change between neighbouring slices of an output with that of its reference.

    Args:
        output_hu: (S, H, W), neighbouring slices in the order of the scan, HU.
        reference_hu: (S, H, W), full dose, or the low-dose input where there is none. Windows that are flat in two
            neighbouring slices are looked for in it.
        size: side of the windows, pixels.

    Returns:
        The changes; NaN where no two neighbours have a flat window in common.

    Raises:
        ValueError: the two differ in shape, or are no stacks of at least two slices.
    """
    if output_hu.shape != reference_hu.shape or output_hu.ndim != 3 or len(output_hu) < 2:
        raise ValueError(
            f"between slices: shapes {output_hu.shape} and {reference_hu.shape}; "
            "the same stack of at least two neighbouring slices is needed"
        )
    flat = [flatness_map(slice_hu, size) for slice_hu in reference_hu]
    places = [choose_windows(here & above, size) for here, above in pairwise(flat)]
    windows = sum(map(len, places))
    if windows == 0:
        return BetweenSlices(0, float("nan"), float("nan"))
    changes = [slice_change(*_neighbours(volume, places, size)) for volume in (output_hu, reference_hu)]
    return BetweenSlices(windows, *changes)


def _neighbours(
    volume_hu: NDArray[np.floating], places: list[list[tuple[int, int]]], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = [cut_windows(slice_hu, corners, size) for slice_hu, corners in zip(volume_hu[:-1], places, strict=True)]
    second = [cut_windows(slice_hu, corners, size) for slice_hu, corners in zip(volume_hu[1:], places, strict=True)]
    return np.concatenate(first), np.concatenate(second)
