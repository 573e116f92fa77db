"""What a file holds and how it speaks HU: the arithmetic that reading and writing share, whatever the format.

A corrected file is the source's own numbers plus the correction, so that no correction at all gives the source back
bit for bit.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

PADDING_HU = -1024.0
"""What a padded pixel reads as: air."""

IMPOSSIBLE_HU = -1500.0
"""Nothing measured is this low; scanners fill the corners outside the reconstruction circle with -2000 or -3024."""


@dataclass(frozen=True)
class StoredValues:
    """Stored numbers and their map to HU: ``HU = slope * value + intercept``.

    Attributes:
        values: any shape, integer or floating point, as the file has them.
        slope: HU per stored unit; not 0.
        intercept: HU of a stored 0.
        limits: lowest and highest number that the file can hold; None for floating point.
        marked: where the header declares padding, of the shape of ``values``; None where it declares none.
    """

    values: NDArray[np.generic]
    slope: float
    intercept: float
    limits: tuple[int, int] | None
    marked: NDArray[np.bool_] | None = None

    @cached_property
    def padding(self) -> NDArray[np.bool_]:
        """True where padding stands instead of a measurement: declared, or too low to be one."""
        impossible: NDArray[np.bool_] = self._to_hu() <= IMPOSSIBLE_HU
        return impossible if self.marked is None else impossible | self.marked

    def hu(self) -> NDArray[np.float32]:
        """The values in HU, float32, padding as air."""
        hu = self._to_hu()
        hu[self.padding] = PADDING_HU
        return hu

    def corrected(self, correction_hu: NDArray[np.float32]) -> NDArray[np.generic]:
        """The stored values plus a correction in HU, rounded and clipped to what the file can hold.

        Args:
            correction_hu: of the shape of ``values``; what is to be added.

        Returns:
            The same shape and type. Padding, and wherever the correction rounds to nothing, keeps its stored bits.
        """
        step = correction_hu / self.slope
        if self.limits is None:
            changed = np.add(self.values, step, dtype=np.float64)
        else:
            step = np.rint(step)
            changed = np.add(self.values, step, dtype=np.float64).clip(*self.limits)
        keep = self.padding | (step == 0)
        return np.where(keep, self.values, changed.astype(self.values.dtype)).astype(self.values.dtype, copy=False)

    def replaced(self, hu: NDArray[np.float32]) -> NDArray[np.generic]:
        """Other HU as this file would store them, rounded and clipped to what it can hold; padding is not kept.

        Args:
            hu: of the shape of ``values``; what is to stand in their place.

        Returns:
            The same shape and type.
        """
        stored = (hu.astype(np.float64) - self.intercept) / self.slope
        if self.limits is not None:
            stored = np.rint(stored).clip(*self.limits)
        return stored.astype(self.values.dtype)

    def _to_hu(self) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is for the reader to refuse
            scaled = np.multiply(self.values, self.slope, dtype=np.float64) + self.intercept
            hu: NDArray[np.float32] = scaled.astype(np.float32)
        return hu


def integer_limits(dtype: np.dtype[np.generic]) -> tuple[int, int] | None:
    """The lowest and highest value of an integer type; None for floating point."""
    if dtype.kind not in "iu":
        return None
    bounds = np.iinfo(dtype.str)
    return int(bounds.min), int(bounds.max)
