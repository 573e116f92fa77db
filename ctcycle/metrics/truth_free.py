"""Judging a denoiser without full dose: structure in what it removed, noise that it left, and a score of both.

The residual x - D(x) of a good denoiser is noise: it knows nothing of the anatomy. Where it is larger along edges than
beside them, structure was removed or displaced.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.metrics.spectral.spectra import detrend

SMOOTHING_PX = 2.0
MAX_GRADIENT_HU_PER_PX = 40.0
"""Larger gradients, of skin, lung and bone, count as this much: else few pixels would decide."""

BODY_HU = -500.0
TILE_PX = 16
"""The permutation null moves the residual within tiles of this side: far enough to part it from the edges, while its
level, which differs between shoulders and neck, stays in place."""

MIN_TILES = 16

PERMUTATIONS = 99

STRUCTURE_BAR = 0.05
"""Excess correlation that counts as one unit of the penalty."""

TEXTURE_BAR = 0.1
"""Texture distance to the full-dose domain that counts as one unit."""

RECOVERY_BAR = 0.2
"""Share of a lesion's contrast lost or added that counts as one unit: recovery of 80 % or of 120 %."""

NOISE_BAR = 0.1
"""Noise beyond that of the full-dose domain, as a share of it, that counts as one unit."""


@dataclass(frozen=True)
class ResidualStructure:
    """Correlation of what a denoiser removed with the edges of its input.

    Attributes:
        tiles: how many tiles of `TILE_PX` lie wholly in the body; only these count.
        correlation: Pearson's, of the size of the residual and of the gradient of the smoothed input.
        null_mean: of the correlations with the residual moved about within tiles; not 0, since both the noise and the
            edges of some regions are stronger.
        null_sd: standard deviation of these.
        p_value: share of the null, the observed one included, that is at least as far from ``null_mean``.
    """

    tiles: int
    correlation: float
    null_mean: float
    null_sd: float
    p_value: float

    @property
    def excess(self) -> float:
        """Correlation beyond that of noise: about 0 for a residual without structure.

        Above 0 where edges were blurred, below 0 where noise was left beside edges.
        """
        return self.correlation - self.null_mean


@dataclass(frozen=True)
class TruthFreeScore:
    """A penalty that ranks denoisers, or checkpoints of one, without truth: lower is better.

    Each part is in units of its bar, so that 1 is a fault as large as the bar of that measure allows. That these faults
    weigh the same is an assumption, to be checked by `regret_db` on simulated runs.

    Attributes:
        structure: excess correlation of the residual with edges, of either sign, over `STRUCTURE_BAR`.
        texture: texture distance to the full-dose domain, over `TEXTURE_BAR`.
        recovery: distance of the contrast recovered from 1, over `RECOVERY_BAR`.
        noise: noise beyond that of the full-dose domain, over `NOISE_BAR`; less noise costs nothing here.
    """

    structure: float
    texture: float
    recovery: float
    noise: float

    @property
    def penalty(self) -> float:
        """Mean of the four parts."""
        return (self.structure + self.texture + self.recovery + self.noise) / 4


def residual_structure(
    input_hu: NDArray[np.floating], output_hu: NDArray[np.floating], rng: np.random.Generator
) -> ResidualStructure:
    """Correlate the residual's size |x - D(x)| with the gradient |∇(G x)| of the smoothed input.

    The null rotates, mirrors and shifts (cyclically) the residual within each tile, which keeps its texture and its
    level but parts it from the edges.

    Args:
        input_hu: x, (H, W), HU.
        output_hu: D(x), (H, W), HU.
        rng: draws the permutations, in place.

    Raises:
        ValueError: the images differ in shape, or fewer than `MIN_TILES` tiles lie in the body.
    """
    if input_hu.shape != output_hu.shape or input_hu.ndim != 2:
        raise ValueError(
            f"residual structure: shapes {input_hu.shape} and {output_hu.shape}; two images of one slice are needed"
        )
    image = input_hu.astype(np.float64)
    smooth = ndimage.gaussian_filter(image, SMOOTHING_PX)
    body = (_tiles(smooth) > BODY_HU).all(axis=(1, 2))
    tiles = int(np.count_nonzero(body))
    if tiles < MIN_TILES:
        raise ValueError(f"residual structure: {tiles} tiles of body; a slice with at least {MIN_TILES} is needed")
    edges = _tiles(np.minimum(np.hypot(*np.gradient(smooth)), MAX_GRADIENT_HU_PER_PX))[body]
    size = _tiles(np.abs(image - output_hu))[body]
    observed = _correlation(size, edges)
    null = np.array([_correlation(_moved(size, rng), edges) for _ in range(PERMUTATIONS)])
    farther = np.abs(null - null.mean()) >= abs(observed - null.mean())
    p_value = float((1 + np.count_nonzero(farther)) / (1 + PERMUTATIONS))
    return ResidualStructure(tiles, observed, float(null.mean()), float(null.std(ddof=1)), p_value)


def noise_ratio(output_hu: NDArray[np.floating], input_hu: NDArray[np.floating]) -> float:
    """Return the noise of flat patches of the output over that of the input.

    Args:
        output_hu: (K, N, N), HU, see `ctcycle.metrics.windows`.
        input_hu: (K, N, N), the same places of the input.

    Returns:
        Ratio of the root mean squares after detrending: 1 where nothing was removed. NaN where the input has no noise.

    Raises:
        ValueError: the stacks are no stacks of square patches.
    """
    before = float(np.sqrt(np.mean(detrend(input_hu) ** 2)))
    after = float(np.sqrt(np.mean(detrend(output_hu) ** 2)))
    return after / before if before > 0 else math.nan


def truth_free_score(
    excess_correlation: float, texture_distance: float, contrast_recovered: float, noise_over_full: float
) -> TruthFreeScore:
    """Combine the measures that need no truth to one penalty.

    Args:
        excess_correlation: mean over slices of `ResidualStructure.excess`.
        texture_distance: of the output's noise to the full-dose domain, see `ctcycle.metrics.spectral.nps`.
        contrast_recovered: of lesions inserted into the input; 1 is all of it.
        noise_over_full: the output's noise over that of the full-dose domain, in flat patches.
    """
    return TruthFreeScore(
        structure=abs(excess_correlation) / STRUCTURE_BAR,
        texture=texture_distance / TEXTURE_BAR,
        recovery=abs(1 - contrast_recovered) / RECOVERY_BAR,
        noise=max(noise_over_full - 1, 0.0) / NOISE_BAR,
    )


def regret_db(penalties: NDArray[np.floating], psnr_db: NDArray[np.floating]) -> float:
    """Return how much PSNR the checkpoint of the lowest penalty lacks against the one that pairs would choose.

    Args:
        penalties: (E), one a checkpoint.
        psnr_db: (E), of the same checkpoints against full dose, as simulated scans have it. Against slices without
            noise the regret is large by design: the score wants the noise of full dose, not none.

    Raises:
        ValueError: none, or not as many of each, or a value that is not a number.
    """
    if len(penalties) != len(psnr_db) or len(penalties) == 0 or np.isnan([penalties, psnr_db]).any():
        raise ValueError("regret: one penalty and one PSNR for each of at least one checkpoint are needed")
    return float(np.max(psnr_db) - psnr_db[np.argmin(penalties)])


def _tiles(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut an image into whole tiles; what is left at the lower and right border is dropped: (T, TILE, TILE)."""
    rows, columns = image.shape[0] // TILE_PX, image.shape[1] // TILE_PX
    cut = image[: rows * TILE_PX, : columns * TILE_PX].reshape(rows, TILE_PX, columns, TILE_PX)
    return np.asarray(cut.swapaxes(1, 2).reshape(-1, TILE_PX, TILE_PX), dtype=np.float64)


def _moved(tiles: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Shift each tile cyclically, mirror it along one axis or both, and transpose some: each at random."""
    count = len(tiles)
    sign, shift = rng.choice([-1, 1], (2, count, 1)), rng.integers(0, TILE_PX, (2, count, 1))
    rows, columns = (sign * np.arange(TILE_PX) + shift) % TILE_PX
    moved: NDArray[np.float64] = tiles[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    transposed = rng.random(count) < 0.5
    moved[transposed] = moved[transposed].swapaxes(1, 2)
    return moved


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's correlation of all values; 0 where one is constant."""
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 0 else 0.0
