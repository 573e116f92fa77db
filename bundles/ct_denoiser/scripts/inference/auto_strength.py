# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Choose the strength at which a denoised series has the noise of a routine dose, and no less."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.ct.measures import soft_tissue_noise, tissue_windows
from scripts.ct.series import Series
from scripts.errors import SeriesError
from scripts.inference.denoiser import Denoiser
from scripts.inference.routine_dose import DoseLevel, dose_level

STEPS = 100
"""The strength is a multiple of 1 / `STEPS`."""

MOST_SLICES = 4
"""Slices to denoise for the choice, spread over the series."""

_Slices = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Choice:
    """The strength chosen for a series, and why.

    Attributes:
        strength: factor of the correction, from 0 to 1.
        noise_hu: noise of the series in soft tissue.
        routine_hu: noise that a routine dose would have.
        left_hu: noise to expect in the result.
    """

    strength: float
    noise_hu: float
    routine_hu: float
    left_hu: float

    def as_dict(self) -> dict[str, float]:
        """Return the numbers as plain data, rounded for JSON."""
        return {name: round(value, 2) for name, value in asdict(self).items()}

    def sentence(self) -> str:
        """Return the choice as one sentence with its figures."""
        figures = f"noise of {self.noise_hu:.3g} HU in soft tissue, about {self.routine_hu:.3g} HU at a routine dose"
        if self.strength == 0:
            return f"strength=auto: 0 ({figures}); already at routine dose, left unchanged"
        return f"strength=auto: {self.strength:.2f} ({figures}); leaves {self.left_hu:.3g} HU"


def choose_strength(denoiser: Denoiser, sample: Series) -> Choice:
    """Choose the largest strength from 0 to 1 that leaves at least the noise of a routine dose.

    Series that `ctcycle.inference.routine_dose.DoseLevel.is_routine` are left unchanged. For others, a few slices are
    denoised, and the correction is scaled until the noise in soft tissue falls, in the median over these slices, by the
    same factor as from the noise of the series to that of a routine dose.

    Args:
        denoiser: its own strength is ignored.
        sample: slices of the series.

    Raises:
        SeriesError: the noise of a routine dose is unknown for this series.
    """
    level = dose_level(sample.info, sample.hu)
    if level.unknown:
        raise SeriesError(f"{sample.info.path}: strength=auto: {level.unknown}; set strength to a number from 0 to 2")
    if level.is_routine:
        return Choice(0.0, level.noise_hu, level.routine_hu, level.noise_hu)
    return _search(denoiser.with_strength(1.0), sample.hu, level)


def _search(denoiser: Denoiser, slices: NDArray[np.float32], level: DoseLevel) -> Choice:
    picked = _with_tissue(slices)
    corrections = [denoiser.correction(hu) for hu in picked]
    windows = [tissue_windows(hu) for hu in picked]
    before = np.array([soft_tissue_noise(hu, where) for hu, where in zip(picked, windows, strict=True)])

    def left_hu(step: int) -> float:
        blends = (hu + step / STEPS * change for hu, change in zip(picked, corrections, strict=True))
        noise = [soft_tissue_noise(hu, where) for hu, where in zip(blends, windows, strict=True)]
        return float(np.median(noise / before)) * level.noise_hu

    enough, too_much = 0, STEPS + 1
    while too_much - enough > 1:
        middle = STEPS if too_much > STEPS else (enough + too_much) // 2
        if left_hu(middle) >= level.routine_hu:
            enough = middle
        else:
            too_much = middle
    return Choice(enough / STEPS, level.noise_hu, level.routine_hu, left_hu(enough))


def _with_tissue(slices: NDArray[np.float32]) -> _Slices:
    """Return at most `MOST_SLICES` of the slices with enough soft tissue to measure noise, evenly spread."""
    usable = [hu for hu in slices if soft_tissue_noise(hu) > 0]
    count = min(MOST_SLICES, len(usable))
    return [usable[index] for index in np.linspace(0, len(usable) - 1, count).round().astype(int)]
