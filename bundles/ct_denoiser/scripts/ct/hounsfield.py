# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Hounsfield units: the only module with HU formulas.

Everything outside the networks is in HU; the normalised range exists only between the transforms and the update
functions. The functions accept numpy arrays and torch tensors and import neither.
"""

import math
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

MU_WATER = 0.0192
"""Linear attenuation of water in 1/mm, as in the report (about 70 keV)."""

MU_AIR = 0.0
"""Linear attenuation of air in 1/mm; the report takes 0 (dry air has about 2e-5/mm)."""

_MOST_HU = 1e6
"""Far more than any material; beyond about 1e38, float32 overflows."""


@dataclass(frozen=True)
class MuScale:
    """The two attenuations that define HU: water at 0 HU, air at -1000 HU.

    Attributes:
        water: linear attenuation of water in 1/mm.
        air: linear attenuation of air in 1/mm; at least 0 and below ``water``.
    """

    water: float = MU_WATER
    air: float = MU_AIR

    def __post_init__(self) -> None:
        if not 0 <= self.air < self.water < math.inf:
            raise ValueError(f"mu_air={self.air}, mu_water={self.water}; needs 0 <= mu_air < mu_water")


class _Array(Protocol):
    """An array type with arithmetic and ``clip``, which is all that the formulas need."""

    def clip(self, low: float, high: float | None = None, /) -> Self:
        """Return the array with values limited to ``low`` and ``high``."""
        ...

    def __add__(self, other: float, /) -> Self: ...
    def __sub__(self, other: float, /) -> Self: ...
    def __mul__(self, other: float, /) -> Self: ...
    def __truediv__(self, other: float, /) -> Self: ...


ArrayT = TypeVar("ArrayT", bound=_Array)


@dataclass(frozen=True)
class HUWindow:
    """The range of HU that a network sees, and its linear map to about [-1, 1].

    Attributes:
        low: lower end in HU; lower values are clipped to it.
        high: upper end in HU.
        clip_upper: whether values above ``high`` are also clipped.
        scale: HU per unit. None maps [low, high] linearly to [-1, 1]; with a number, HU are divided by it (the report's
            code: ``low=-1000, clip_upper=False, scale=4000``).
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads a plain dict here; the class stays free of pydantic)

    low: float = -1000.0
    high: float = 1000.0
    clip_upper: bool = True
    scale: float | None = None

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"HU window: low={self.low}, high={self.high}; both must be finite and low < high")
        if max(-self.low, self.high, self.scale or 0.0) > _MOST_HU:
            raise ValueError(f"HU window: low={self.low}, high={self.high}, scale={self.scale}; beyond {_MOST_HU:g} HU")
        if self.scale is not None and not self.scale > 0:
            raise ValueError(f"HU window: scale={self.scale}; must be positive")

    @property
    def hu_per_unit(self) -> float:
        """HU per unit of the normalised range."""
        return (self.high - self.low) / 2 if self.scale is None else self.scale

    @property
    def centre(self) -> float:
        """HU at the normalised value 0."""
        return (self.high + self.low) / 2 if self.scale is None else 0.0

    def clip(self, hu: ArrayT) -> ArrayT:
        """Return HU values of any shape clipped to what the network can see."""
        return hu.clip(self.low, self.high if self.clip_upper else None)

    def normalise(self, hu: ArrayT) -> ArrayT:
        """Convert HU of any shape to the network's range."""
        return (self.clip(hu) - self.centre) / self.hu_per_unit

    def denormalise(self, values: ArrayT) -> ArrayT:
        """Convert the network's range back to HU; the inverse of `normalise` inside the window."""
        return values * self.hu_per_unit + self.centre


def mu_to_hu(mu: ArrayT, mu_water: float = MU_WATER, mu_air: float = MU_AIR) -> ArrayT:
    """Convert linear attenuation (1/mm, any shape) to HU: ``1000 (mu - mu_water) / (mu_water - mu_air)``."""
    return (mu - mu_water) * (1000.0 / (mu_water - mu_air))


def hu_to_mu(hu: ArrayT, mu_water: float = MU_WATER, mu_air: float = MU_AIR) -> ArrayT:
    """Convert HU (any shape) to linear attenuation in 1/mm; the inverse of `mu_to_hu`."""
    return hu * ((mu_water - mu_air) / 1000.0) + mu_water
