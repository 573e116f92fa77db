"""Blobs: ellipsoids with rippled edges, in mm, painted into slices with smooth edges."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Grain(NamedTuple):
    """Standard deviation of a tissue's density at each scale, in HU; see `ctcycle.simulation.texture.BANDS`.

    Attributes:
        coarse: at 12 to 60 mm.
        medium: at 4.5 to 12 mm.
        fine: at 1.5 to 4.5 mm.
        trabecular: at 1.5 to 4.5 mm across, and four times as long from foot to head.
    """

    coarse: float = 0.0
    medium: float = 0.0
    fine: float = 0.0
    trabecular: float = 0.0


SMOOTH = Grain()
"""Fluid, gas, compact bone: the same density everywhere."""


@dataclass(frozen=True)
class Ripple:
    """A wave along the edge of a blob.

    Attributes:
        order: periods around the edge.
        share: amplitude as a share of the radius.
        phase: phase at the blob's centre, in radians.
        turn_per_mm: change of the phase along z, in radians per mm.
    """

    order: int
    share: float
    phase: float
    turn_per_mm: float = 0.0


@dataclass(frozen=True)
class Blob:
    """A body of one tissue whose cross-sections are ellipses with rippled edges.

    Attributes:
        hu: its mean density.
        centre: x, y, z in mm.
        radii: along x, y (before rotation) and z, in mm; the last may be infinite.
        turn: rotation of the cross-section, in radians.
        drift: shift of the cross-section along x and y, in mm per mm along z.
        ripples: waves along the edge.
        taper: exponent along z: 2 for an ellipsoid, more for a barrel.
        inside: name of a region of earlier blobs that the blob is clipped to; empty for no clipping.
        named: name of the region that the blob is added to; empty for none.
        level: the blob is cut off at this distance below its centre along y, in mm (gas above a fluid level).
        grain: variation of its density.
    """

    hu: float
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: float = 0.0
    drift: tuple[float, float] = (0.0, 0.0)
    ripples: tuple[Ripple, ...] = ()
    taper: float = 2.0
    inside: str = ""
    named: str = ""
    level: float = math.inf
    grain: Grain = SMOOTH

    def shrunk(self, by_mm: float, hu: float, grain: Grain = SMOOTH) -> Self:
        """Return the blob without a wall of ``by_mm``, of another tissue and in no region."""
        x, y, z = (max(radius - by_mm, 0.1) for radius in self.radii)
        return replace(self, hu=hu, radii=(x, y, z), named="", grain=grain)

    def scale(self, z_mm: float) -> float:
        """Return the size of the cross-section at ``z_mm`` as a share of the largest; 0 beyond the ends."""
        along = min(abs(z_mm - self.centre[2]) / self.radii[2], 1.0)
        return float((1.0 - along**self.taper) ** (1.0 / self.taper))

    def position(self, z_mm: float) -> tuple[float, float]:
        """Return the centre of the cross-section at ``z_mm``: x, y in mm."""
        shift = z_mm - self.centre[2]
        return self.centre[0] + self.drift[0] * shift, self.centre[1] + self.drift[1] * shift

    def edge(self, around: FloatArray, z_mm: float) -> FloatArray:
        """Return the radius of the cross-section as a share of ``radii``, at angles in radians."""
        wave = np.zeros_like(around)
        for ripple in self.ripples:
            phase = ripple.phase + ripple.turn_per_mm * (z_mm - self.centre[2])
            wave += ripple.share * np.cos(ripple.order * around + phase)
        return self.scale(z_mm) * (1 + wave)

    def reach(self) -> float:
        """Return the largest distance of the cross-section at the blob's centre from x = y = 0, in mm."""
        around = np.linspace(0, 2 * np.pi, 128, dtype=np.float32)
        edge = self.edge(around, self.centre[2])
        along, across = self.radii[0] * edge * np.cos(around), self.radii[1] * edge * np.sin(around)
        x = self.centre[0] + math.cos(self.turn) * along - math.sin(self.turn) * across
        y = self.centre[1] + math.sin(self.turn) * along + math.cos(self.turn) * across
        return float(np.hypot(x, y).max())


class Canvas:
    """A slice onto which blobs are painted, each over the previous ones.

    Attributes:
        hu: (N, N) float32, the slice without texture.
        grain: (4, N, N) float32, the `Grain` of each pixel.
    """

    def __init__(self, along_mm: FloatArray, z_mm: float, background_hu: float) -> None:
        """Create a slice of uniform density.

        Args:
            along_mm: (N,) positions of the columns along x, and of the rows along y, evenly spaced.
            z_mm: z position of the slice.
            background_hu: density before anything is painted.
        """
        size = len(along_mm)
        self.hu = np.full((size, size), background_hu, np.float32)
        self.grain = np.zeros((len(SMOOTH), size, size), np.float32)
        self._along = along_mm
        self._pixel = float(along_mm[1] - along_mm[0])
        self._z = z_mm
        self._regions: dict[str, FloatArray] = {}

    def paint(self, blob: Blob) -> None:
        """Blend the cross-section of a blob into the slice."""
        if blob.scale(self._z) == 0:
            return
        (rows, y), (columns, x) = self._span(blob, 1), self._span(blob, 0)
        cover = _cover(blob, x, y[:, None], self._z, self._pixel)
        if blob.inside:
            cover *= self._region(blob.inside)[rows, columns]
        if blob.named:
            region = self._region(blob.named)[rows, columns]
            region += cover * (1 - region)
        target = self.hu[rows, columns]
        target += cover * (np.float32(blob.hu) - target)
        for plane, value in zip(self.grain, blob.grain, strict=True):
            level = plane[rows, columns]
            level += cover * (np.float32(value) - level)

    def _span(self, blob: Blob, axis: int) -> tuple[slice, FloatArray]:
        """Return the rows (axis 1) or columns (axis 0) that the blob may touch, and their distances from its centre."""
        reach = max(blob.radii[:2]) * (1 + sum(abs(ripple.share) for ripple in blob.ripples)) + self._pixel
        offsets = self._along - np.float32(blob.position(self._z)[axis])
        span = slice(*np.searchsorted(offsets, (-reach, reach)))
        return span, offsets[span]

    def _region(self, name: str) -> FloatArray:
        return self._regions.setdefault(name, np.zeros_like(self.hu))


def _cover(blob: Blob, x: FloatArray, y: FloatArray, z_mm: float, pixel_mm: float) -> FloatArray:
    """Return the share of each pixel covered by the blob, from its (first-order) distance to the edge."""
    cos, sin = math.cos(blob.turn), math.sin(blob.turn)
    u, v = (cos * x + sin * y) / blob.radii[0], (cos * y - sin * x) / blob.radii[1]
    radius = np.hypot(u, v) + np.float32(1e-6)
    slope = np.hypot(u / blob.radii[0], v / blob.radii[1]) / radius + np.float32(1e-6)
    edge = blob.edge(np.arctan2(v, u), z_mm) if blob.ripples else np.float32(blob.scale(z_mm))
    cover: FloatArray = np.clip(0.5 + (edge - radius) / slope / np.float32(pixel_mm), 0, 1)
    if math.isfinite(blob.level):
        cover *= np.clip(0.5 + (blob.level - y) / np.float32(pixel_mm), 0, 1)
    return cover
