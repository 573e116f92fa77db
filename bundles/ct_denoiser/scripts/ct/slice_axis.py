# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The axis along which a three-dimensional array is cut into slices, if no header names the slices."""

from collections.abc import Sequence

_EQUAL = 0.01
_CLEAR = 1.5
"""How much more alike the sides of a slice must be than those of any other plane."""


def by_spacing(spacing: Sequence[float], usual: int) -> int:
    """Return the axis of slices whose pixels are square; of those with the finest pixels, if no plane has square ones.

    Args:
        spacing: along the three axes, above 0.
        usual: the axis to choose if all spacings are equal.
    """
    equal = [axis for axis in range(3) if _ratio(spacing, axis) <= 1 + _EQUAL]
    if len(equal) == 1:
        return equal[0]
    return usual if equal else max(range(3), key=lambda axis: spacing[axis])


def by_sizes(shape: Sequence[int]) -> int | None:
    """Return the axis of slices with equal sides, as a scanner makes them, or with sides that are clearly most alike.

    Args:
        shape: sizes of the three axes.

    Returns:
        The axis; None if the sizes cannot decide, as for a cube.
    """
    ratios = sorted((_ratio(shape, axis), axis) for axis in range(3))
    (best, axis), (second, _) = ratios[:2]
    return axis if best == 1 < second or second >= _CLEAR * best else None


def _ratio(sides: Sequence[float], axis: int) -> float:
    """Return the ratio of the longer to the shorter of the two sides other than ``axis``."""
    low, high = sorted(side for number, side in enumerate(sides) if number != axis)
    return high / low
