"""What depends on a pair alone: computed once, shared by the studies of all methods."""

from collections import deque
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.pairs import HUPair
from ctcycle.metrics.features import FEATURES, window_features
from ctcycle.metrics.lesions.patch_agreement import PATCH_PX
from ctcycle.metrics.spectral.spectra import detrend, detrended_spectra
from ctcycle.metrics.tissue_bias import SliceErrors, TissueMasks, slice_errors, tissue_masks
from ctcycle.metrics.windows import choose_windows, cut_windows, flatness_map

BODY_HU = -500.0
KEPT_PAIRS = 4
"""References that are kept: the present pair and those before it, whose windows the next one needs."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PairReference:
    """Windows, spectra, tissues and features of one pair; each is computed when it is first asked for.

    Attributes:
        pair: the slice at both doses.
    """

    pair: HUPair

    @cached_property
    def flat(self) -> NDArray[np.bool_]:
        """Where a flat window has its top left corner, judged in low dose; see `flatness_map`."""
        return flatness_map(self.pair.low_hu)

    @cached_property
    def corners(self) -> list[tuple[int, int]]:
        """The flat windows."""
        return choose_windows(self.flat)

    @cached_property
    def full_windows_hu(self) -> Array:
        """(K, N, N), full dose."""
        return cut_windows(self.pair.full_hu, self.corners)

    @cached_property
    def low_spectra(self) -> NDArray[np.complex128]:
        """(K, N, N), of the flat windows of low dose."""
        return detrended_spectra(cut_windows(self.pair.low_hu, self.corners))

    @cached_property
    def full_spectra(self) -> NDArray[np.complex128]:
        """(K, N, N), of the flat windows of full dose."""
        return detrended_spectra(self.full_windows_hu)

    @cached_property
    def full_features(self) -> Array:
        """(K, 8), of the flat windows of full dose."""
        return features(self.full_windows_hu)

    @cached_property
    def masks(self) -> TissueMasks:
        """The tissues of full dose."""
        return tissue_masks(self.pair.full_hu)

    @cached_property
    def input_errors(self) -> SliceErrors:
        """Of low dose against full dose."""
        return slice_errors(self.pair.low_hu, self.pair.full_hu, self.masks)

    @cached_property
    def input_rms_hu(self) -> float:
        """Root mean square difference of low from full dose outside air; NaN where all is air."""
        return rms_hu(self.pair.low_hu, self.pair.full_hu, self.masks.outside_air)

    @cached_property
    def body_patches(self) -> list[tuple[int, int]]:
        """Corners of the patches, overlapping by half, whose middle half lies in the body."""
        body = self.masks.smooth_hu > BODY_HU
        quarter, step = PATCH_PX // 4, PATCH_PX // 2
        rows, columns = (range(0, side - PATCH_PX + 1, step) for side in body.shape)
        inner = slice(quarter, PATCH_PX - quarter)
        return [(row, col) for row in rows for col in columns if body[row:, col:][inner, inner].all()]

    @property
    def pixel_mm(self) -> float:
        """Side of a square of the area of a pixel."""
        return float(np.sqrt(self.pair.spacing_mm[0] * self.pair.spacing_mm[1]))

    def follows(self, other: "PairReference") -> bool:
        """Whether this is the next slice of the other's series."""
        here, before = self.pair, other.pair
        return (here.series, here.slice_index) == (before.series, before.slice_index + 1) and (
            here.low_hu.shape == before.low_hu.shape
        )


class PairReferences:
    """The references of the last few pairs, so that several studies fed with the same pairs share them."""

    def __init__(self) -> None:
        """Start with none."""
        self._kept: deque[PairReference] = deque(maxlen=KEPT_PAIRS)

    def of(self, pair: HUPair) -> PairReference:
        """Return the reference of a pair; the same one while the same pair is asked for again."""
        for reference in self._kept:
            if reference.pair is pair:
                return reference
        self._kept.append(PairReference(pair))
        return self._kept[-1]


def features(windows_hu: Array) -> Array:
    """Return the features of windows (K, N, N) in HU: (K, 8) in the order of `FEATURES`."""
    found = [[*window_features(window).values()] for window in windows_hu]
    return np.array(found, dtype=np.float64).reshape(-1, len(FEATURES))


def change_sums(
    first_hu: NDArray[np.floating], second_hu: NDArray[np.floating], corners: list[tuple[int, int]]
) -> Array:
    """Return the two sums of `slice_change` over windows of neighbouring slices (H, W): (2), in HU²."""
    first, second = (detrend(cut_windows(hu, corners)) for hu in (first_hu, second_hu))
    return np.array([((second - first) ** 2).sum(), (first**2).sum() + (second**2).sum()])


def rms_hu(first_hu: NDArray[np.floating], second_hu: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Return the root mean square difference of two slices (H, W) in a mask; NaN where that is empty."""
    difference = first_hu[mask].astype(np.float64) - second_hu[mask]
    return float(np.sqrt(np.mean(difference**2))) if difference.size else float("nan")
