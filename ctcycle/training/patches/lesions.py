"""Draws random small lesions and vessels that are added to both images of a training pair.

Anatomy has few small faint lesions, and a network that never met one removes it as noise. Both images of a pair show
the same added lesion, so the pair stays right, whatever is added.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from ctcycle.config.training import Lesions

Array = NDArray[np.float32]

DIFFICULTY = (0.4, 1.5, 4.0)
"""Lower bounds of visibility: contrast × radius in px over the noise that denoising should remove.

Lesions are nearly invisible, faint or visible. Below the first bound, a lesion is not measured.
"""

CLASSES = 2 * len(DIFFICULTY)
"""Classes of lesions: by visibility in noise finer than white noise, then by visibility in coarser noise.

Coarse noise, as of soft kernels, hides lesions of its own size. One mean over both let the fine noise make up for it:
a 3 mm, 20 HU lesion kept 63 % on real B30f and 95 % on D45f, where 76 % was asked for.
"""

TISSUE_HU = -300.0
"""Lesions are centred on pixels above this, in full dose."""

_TRIES = 5
_MARGIN_PX = 6
_VESSEL_LENGTH_PX = (2.0, 30.0)
_VESSEL_RADIUS_MM = 2.5
_RING_PX = (2.0, 5.0)
_RING_PIXELS = 20
_LEAST_NOISE_HU = 3.0
_BLOCK_PX = 4


def is_coarse(noise: Array) -> bool:
    """Return whether means of 4 × 4 px blocks of ``noise`` (H, W) vary more than those of white noise of its level."""
    rows, columns = (side // _BLOCK_PX for side in noise.shape)
    blocks = noise[: rows * _BLOCK_PX, : columns * _BLOCK_PX].reshape(rows, _BLOCK_PX, columns, _BLOCK_PX)
    return bool(blocks.mean(axis=(1, 3)).std() * _BLOCK_PX > noise.std())


@dataclass(frozen=True)
class Shape:
    """A disc, or a tube of half-round ends.

    Attributes:
        centre_px: row and column.
        radius_px: half its width.
        contrast_hu: difference to the tissue around it.
        edge_px: standard deviation of the Gaussian blur of its edge.
        length_px: of the tube's axis; 0 for a disc.
        angle: of the axis to the columns, in radians.
    """

    centre_px: tuple[float, float]
    radius_px: float
    contrast_hu: float
    edge_px: float
    length_px: float = 0.0
    angle: float = 0.0

    def distance_px(self, size: Sequence[int]) -> Array:
        """Return each pixel's distance to the axis (of a disc: the centre), (H, W)."""
        rows, columns = np.ogrid[: size[0], : size[1]]
        down, right = rows - self.centre_px[0], columns - self.centre_px[1]
        along = down * math.sin(self.angle) + right * math.cos(self.angle)
        beyond = along - np.clip(along, -self.length_px / 2, self.length_px / 2)
        return np.hypot(beyond, down * math.cos(self.angle) - right * math.sin(self.angle)).astype(np.float32)

    def image_hu(self, size: Sequence[int]) -> Array:
        """Return the blurred shape, (H, W) in HU, 0 far from it.

        The edge has the profile of a straight edge. The peak is that of the blurred shape: 1 - exp(-R²/2σ²) of a disc,
        erf(R/√2σ) of a tube.
        """
        sigma = self.edge_px
        edge = 0.5 * (1 - erf((self.distance_px(size) - self.radius_px) / (math.sqrt(2) * sigma)))
        centre = 0.5 * (1 + math.erf(self.radius_px / (math.sqrt(2) * sigma)))
        peak = -math.expm1(-(self.radius_px**2) / (2 * sigma**2))
        if self.length_px:
            peak = math.erf(self.radius_px / (math.sqrt(2) * sigma))
        image: Array = (self.contrast_hu * peak / centre * edge).astype(np.float32)
        return image

    def template(self, size: Sequence[int]) -> Array | None:
        """Return weights (H, W) that sum to 0: mean of the core minus mean of a ring around it, signed as the contrast.

        The core is r < R/2, as in the insertion bench. None if core or ring has too few pixels inside the image.
        """
        distance = self.distance_px(size)
        core = distance <= max(self.radius_px / 2, 0.75)
        ring = (distance > self.radius_px + _RING_PX[0]) & (distance < self.radius_px + _RING_PX[1])
        if not core.any() or ring.sum() < _RING_PIXELS:
            return None
        weights: Array = (np.sign(self.contrast_hu) * (core / core.sum() - ring / ring.sum())).astype(np.float32)
        return weights


@dataclass(frozen=True)
class LesionDraw:
    """Draws lesions as the settings say.

    Attributes:
        settings: number, sizes and contrasts.
    """

    settings: Lesions

    def draw(self, full_hu: Array, noise_hu: Array, pixel_mm: float, rng: np.random.Generator) -> Array:
        """Return the lesions of one patch and how to measure them.

        Args:
            full_hu: (h, w), the full-dose patch, HU.
            noise_hu: (h, w), what denoising should remove: low minus full dose.
            pixel_mm: pixel size.
            rng: draws everything.

        Returns:
            (1 + `CLASSES`, h, w): the lesions in HU, and the sum of the templates of the discs in each class.
        """
        found = np.zeros((1 + CLASSES, *full_hu.shape), np.float32)
        level, texture = max(float(noise_hu.std()), _LEAST_NOISE_HU), len(DIFFICULTY) * is_coarse(noise_hu)
        for _ in range(rng.integers(0, self.settings.most + 1)):
            shape = self._shape(full_hu, pixel_mm, rng)
            if shape is None:
                continue
            found[0] += shape.image_hu(full_hu.shape)
            number = int(np.searchsorted(DIFFICULTY, abs(shape.contrast_hu) * shape.radius_px / level, side="right"))
            template = None if shape.length_px or not number else shape.template(full_hu.shape)
            if template is not None:
                found[texture + number] += template
        return found

    def _shape(self, full_hu: Array, pixel_mm: float, rng: np.random.Generator) -> Shape | None:
        centre = self._centre(full_hu, rng)
        radius_mm = math.exp(rng.uniform(*np.log(self.settings.radius_mm)))
        contrast = math.exp(rng.uniform(*np.log(self.settings.contrast_hu))) * float(rng.choice([-1, 1]))
        edge, vessel = rng.uniform(*self.settings.edge_px), rng.random() < self.settings.vessels
        length, angle = rng.uniform(*_VESSEL_LENGTH_PX), rng.uniform(0, math.pi)
        if centre is None:
            return None
        if vessel:
            return Shape(centre, min(radius_mm, _VESSEL_RADIUS_MM) / pixel_mm, contrast, edge, length, angle)
        return Shape(centre, radius_mm / pixel_mm, contrast, edge)

    @staticmethod
    def _centre(full_hu: Array, rng: np.random.Generator) -> tuple[float, float] | None:
        """Return a place in tissue, at least a few pixels inside the patch; None where none was found."""
        rows, columns = full_hu.shape
        for _ in range(_TRIES):
            row, column = (
                float(rng.uniform(min(_MARGIN_PX, side / 4), side - min(_MARGIN_PX, side / 4)))
                for side in (rows, columns)
            )
            if full_hu[int(row), int(column)] > TISSUE_HU:
                return row, column
        return None
