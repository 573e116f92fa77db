"""Turns a stored slice into a training patch with MONAI array transforms: crop, augmentations, HU scaling.

Crop, flips and quarter turns, which are all that most configs name, go a faster way with the same result, see `direct`.

Random transforms are re-seeded for every sample from numbers passed by the caller, so any worker can reproduce any
sample, in any order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import set_track_meta
from monai.transforms import (
    CastToType,
    Compose,
    NormalizeIntensity,
    Randomizable,
    RandSpatialCrop,
    ThresholdIntensity,
)
from numpy.typing import NDArray
from torch import Tensor

from ctcycle.components import build_component
from ctcycle.config.components import Component
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.training.patches.direct import direct_steps


def rows_and_columns(patch_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return ``data.patch_size`` as rows and columns."""
    return (patch_size, patch_size) if isinstance(patch_size, int) else patch_size


def hu_scaling(window: HUWindow) -> list[Any]:
    """Return MONAI transforms equivalent to `HUWindow.normalise`, bit-identical in float32."""
    below = ThresholdIntensity(window.low, above=True, cval=window.low)
    above = [ThresholdIntensity(window.high, above=False, cval=window.high)] if window.clip_upper else []
    scale = NormalizeIntensity(window.centre, window.hu_per_unit)  # type: ignore[arg-type]  # also accepts numbers
    return [CastToType(np.float32), below, *above, scale]


class PatchTransform:
    """Makes a training patch (1, h, w), float32 in the network's range, from a slice (H, W) in HU.

    Args:
        patch_size: side of a square or (rows, columns), in px; MONAI's RandSpatialCrop draws the position.
        augmentations: MONAI transforms by name, applied in order to the patch in HU.
        window: HU window, applied last.
        skip_air: probability of redrawing a patch that is nearly all air (mean below -850 HU), with at most ten draws.

    Attributes:
        hu_per_unit: HU in one unit of the network's range.
    """

    AIR_HU = -850.0
    ATTEMPTS = 10

    def __init__(
        self,
        patch_size: int | tuple[int, int],
        augmentations: Sequence[Component],
        window: HUWindow,
        skip_air: float = 0.0,
    ) -> None:
        crop = RandSpatialCrop(rows_and_columns(patch_size), random_size=False)
        parts = [crop, *(build_component(part, "monai.transforms") for part in augmentations)]
        self._direct, self._pipeline = direct_steps(parts), Compose(parts)
        self._scaling = Compose(hu_scaling(window)) if self._direct is None else window.normalise
        self._random = [member for part in parts for member in _random_members(part)]
        self.skip_air = skip_air
        self.hu_per_unit = window.hu_per_unit

    def in_epoch(self, _epoch: int) -> "PatchTransform":
        """Return the transform of an epoch: this one in all."""
        return self

    def __call__(self, image: NDArray[np.int16], seed: Sequence[int]) -> Tensor:
        """Return the patch that ``seed`` draws from ``image``; the same seed gives the same crop and augmentations.

        Args:
            image: (H, W), HU; not modified.
            seed: non-negative integers.
        """
        return self.draw(image, self.chosen_seed(image, seed))

    def chosen_seed(self, image: NDArray[np.int16], seed: Sequence[int]) -> list[int]:
        """Return ``seed`` extended by the number of the accepted draw, so that both images of a pair can share it."""
        for attempt in range(self.ATTEMPTS if self.skip_air else 1):
            candidate = [*seed, attempt]
            if not self.skip_air or self.patch_hu(image, candidate).float().mean() > self.AIR_HU:
                break
            if np.random.default_rng([*candidate, 1]).random() >= self.skip_air:
                break
        return candidate

    def draw(self, image: NDArray[np.int16], seed: Sequence[int]) -> Tensor:
        """Return the patch that ``seed`` draws, even if it is all air; arguments as in `__call__`."""
        return self.scaled(self.patch_hu(image, seed))

    def scaled(self, patch_hu: Tensor) -> Tensor:
        """Return a patch (1, h, w) in HU in the network's range."""
        patch: Tensor = self._scaling(patch_hu.float())
        return patch.contiguous()

    def draw_difference(self, difference: NDArray[np.int16], seed: Sequence[int]) -> Tensor:
        """Return the patch that ``seed`` draws from a difference of two slices, such as noise; not clipped."""
        return (self.patch_hu(difference, seed).float() / self.hu_per_unit).contiguous()

    def patch_hu(self, image: NDArray[np.int16], seed: Sequence[int]) -> Tensor:
        """Return the patch (1, h, w) that ``seed`` draws, in HU; arguments as in `__call__`."""
        states = np.random.SeedSequence(seed).generate_state(max(1, len(self._random)))
        for member, state in zip(self._random, states, strict=False):
            member.R.seed(int(state))
        if self._direct is not None:
            for step in self._direct:
                image = step(image)
            return torch.from_numpy(np.array(image[None]))
        set_track_meta(False)  # set here because spawned loader workers do not inherit it
        patch: Tensor = self._pipeline(torch.from_numpy(np.array(image[None])))
        return patch


@dataclass(frozen=True)
class GrowingTransform:
    """Transforms for patches that grow during training.

    Attributes:
        transforms: one per stage.
        starts: first epoch, counted from 0, of each stage after the first, ascending.
    """

    transforms: tuple[PatchTransform, ...]
    starts: tuple[int, ...]

    def in_epoch(self, epoch: int) -> PatchTransform:
        """Return the transform of an epoch, counted from 0."""
        return self.transforms[sum(epoch >= start for start in self.starts)]


def _random_members(part: Any) -> Iterator[Randomizable]:
    """Yield ``part`` and its nested random transforms (such as the grid of RandAffine)."""
    if isinstance(part, Randomizable):
        yield part
        for member in vars(part).values():
            yield from _random_members(member)
