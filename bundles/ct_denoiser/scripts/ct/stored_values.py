# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Stored pixel values and their conversion to HU, shared by reading and writing in every format.

A corrected file holds the source's stored values plus the correction, so a correction of zero reproduces the source
bit for bit.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

PADDING_HU = -1024.0
"""The value that padded pixels are read as: air."""

IMPOSSIBLE_HU = -1500.0
"""Lower than any measurement; scanners fill the corners outside the reconstruction circle with -2000 or -3024."""


@dataclass(frozen=True)
class StoredValues:
    """Stored values and their conversion to HU: ``HU = slope * value + intercept``.

    Attributes:
        values: any shape, integer or floating point, as stored in the file.
        slope: HU per stored unit; not 0.
        intercept: HU of the stored value 0.
        limits: lowest and highest value that the file can hold; None for floating point.
        marked: pixels that the header declares as padding, same shape as ``values``; None if it declares none.
    """

    values: NDArray[np.generic]
    slope: float
    intercept: float
    limits: tuple[int, int] | None
    marked: NDArray[np.bool_] | None = None

    @cached_property
    def padding(self) -> NDArray[np.bool_]:
        """True where a pixel is padding: declared as such, or too low to be a measurement."""
        impossible: NDArray[np.bool_] = self._to_hu() <= IMPOSSIBLE_HU
        return impossible if self.marked is None else impossible | self.marked

    def hu(self) -> NDArray[np.float32]:
        """Return the values in HU, float32, with padding as air."""
        hu = self._to_hu()
        hu[self.padding] = PADDING_HU
        return hu

    def corrected(self, correction_hu: NDArray[np.float32]) -> NDArray[np.generic]:
        """Return the stored values plus a correction in HU, rounded and clipped to what the file can hold.

        Args:
            correction_hu: same shape as ``values``, to be added.

        Returns:
            The same shape and type. Padding, and pixels whose correction rounds to zero, keep their stored bits.
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
        """Return other HU values as this file would store them, rounded and clipped; padding is not kept.

        Args:
            hu: same shape as ``values``, in HU.

        Returns:
            The same shape and type.
        """
        stored = (hu.astype(np.float64) - self.intercept) / self.slope
        if self.limits is not None:
            stored = np.rint(stored).clip(*self.limits)
        return stored.astype(self.values.dtype)

    def _to_hu(self) -> NDArray[np.float32]:
        with np.errstate(over="ignore", invalid="ignore"):  # the reader refuses values that are not finite
            scaled = np.multiply(self.values, self.slope, dtype=np.float64) + self.intercept
            hu: NDArray[np.float32] = scaled.astype(np.float32)
        return hu


def integer_limits(dtype: np.dtype[np.generic]) -> tuple[int, int] | None:
    """Return the lowest and highest value of an integer type; None for floating point."""
    if dtype.kind not in "iu":
        return None
    bounds = np.iinfo(dtype.str)
    return int(bounds.min), int(bounds.max)
