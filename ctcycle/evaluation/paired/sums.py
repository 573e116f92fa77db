"""What the pair bench keeps of a patient: sums over slices, from which all figures follow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.paired.reference import PairReference, change_sums, features
from ctcycle.evaluation.pairs import HUImage
from ctcycle.metrics.features import FEATURES
from ctcycle.metrics.spectral.spectra import detrended_spectra, mean_power
from ctcycle.metrics.tissue_bias import SliceErrors, add_errors, slice_errors
from ctcycle.metrics.windows import WINDOW_PX, choose_windows, cut_windows

Array = NDArray[np.float64]
SPECTRA = ("low", "full", "shared", "output", "error")


def _no_power() -> Array:
    return np.zeros((len(SPECTRA), WINDOW_PX, WINDOW_PX))


@dataclass(frozen=True, eq=False)
class PairSums:
    """Sums over slices of one patient, or of several; they add up.

    Attributes:
        output_errors: of the output against full dose, by tissue.
        input_errors: of the input against full dose.
        slices: how many.
        windows: how many flat windows.
        power: (5, N, N), HU², sums over flat windows of the power of `SPECTRA`; "shared" is that of low and full dose.
        feature_sums: (8, 6), n, Σx, Σy, Σx², Σy², Σxy of the features x of the output and y of full dose.
        changes: (2, 2), the two sums of `slice_change`, of the output and of full dose.
    """

    output_errors: SliceErrors
    input_errors: SliceErrors
    slices: int = 0
    windows: int = 0
    power: Array = field(default_factory=_no_power)
    feature_sums: Array = field(default_factory=lambda: np.zeros((len(FEATURES), 6)))
    changes: Array = field(default_factory=lambda: np.zeros((2, 2)))

    def __add__(self, other: "PairSums") -> "PairSums":
        """Return the sums over the slices of both."""
        return PairSums(
            add_errors([self.output_errors, other.output_errors]),
            add_errors([self.input_errors, other.input_errors]),
            self.slices + other.slices,
            self.windows + other.windows,
            self.power + other.power,
            self.feature_sums + other.feature_sums,
            self.changes + other.changes,
        )


def total(parts: Sequence[PairSums]) -> PairSums:
    """Return the sums over all parts, at least one."""
    return reduce(lambda one, other: one + other, parts)


def slice_sums(reference: PairReference, output_hu: HUImage, changes: Array | None = None) -> PairSums:
    """Return the sums of one slice.

    Args:
        reference: of the pair.
        output_hu: (H, W), HU.
        changes: from `changes_since`, where the slice before is known.
    """
    output = slice_errors(output_hu, reference.pair.full_hu, reference.masks)
    found = PairSums(output, reference.input_errors, slices=1)
    if reference.corners:
        windows = cut_windows(output_hu, reference.corners)
        found += PairSums(
            _none(output),
            _none(output),
            windows=len(windows),
            power=_power(reference, windows),
            feature_sums=_moments(features(windows), reference.full_features),
        )
    return found if changes is None else found + PairSums(_none(output), _none(output), changes=changes)


def changes_since(
    before: PairReference, before_output_hu: HUImage, reference: PairReference, output_hu: HUImage
) -> Array | None:
    """Return the sums of the change since the slice before, (2, 2) as in `PairSums`; None without common windows."""
    corners = choose_windows(before.flat & reference.flat) if reference.follows(before) else []
    if not corners:
        return None
    output = change_sums(before_output_hu, output_hu, corners)
    return np.stack([output, change_sums(before.pair.full_hu, reference.pair.full_hu, corners)])


def _power(reference: PairReference, windows_hu: Array) -> Array:
    low, full, output = reference.low_spectra, reference.full_spectra, detrended_spectra(windows_hu)
    pairs = ((low, low), (full, full), (low, full), (output, output), (output - full, output - full))
    return np.stack([mean_power(*pair) for pair in pairs]) * len(windows_hu)


def _moments(x: Array, y: Array) -> Array:
    sums: Array = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y]).sum(axis=1).T
    return sums


def _none(like: SliceErrors) -> SliceErrors:
    parts = (like.pixels, like.sum_hu, like.moments, like.outside_window)
    pixels, sum_hu, moments, outside_window = map(np.zeros_like, parts)
    return SliceErrors(pixels, sum_hu, moments, outside_window, 0)
