"""From a stored slice to a training patch: MONAI array transforms without metadata: crop, augmentations, HU scaling.

Randomness is a pure function of numbers handed in: the random members of a pipeline are re-seeded for every sample, so
that any sample can be made again, by any worker, in any order.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import monai.transforms
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


def rows_and_columns(patch_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return ``data.patch_size`` as rows and columns."""
    return (patch_size, patch_size) if isinstance(patch_size, int) else patch_size


def hu_scaling(window: HUWindow) -> list[Any]:
    """The MONAI transforms that do what `HUWindow.normalise` does, to the last bit of float32."""
    below = ThresholdIntensity(window.low, above=True, cval=window.low)
    above = [ThresholdIntensity(window.high, above=False, cval=window.high)] if window.clip_upper else []
    scale = NormalizeIntensity(window.centre, window.hu_per_unit)  # type: ignore[arg-type]  # numbers are taken, too
    return [CastToType(np.float32), below, *above, scale]


class PatchTransform:
    """One slice (H, W) in HU to one training patch (1, h, w) float32 in the network's range.

    Args:
        patch_size: px, the side of a square or (rows, columns); the place is drawn by MONAI's RandSpatialCrop.
        augmentations: MONAI transforms by name; applied to the patch in HU, in order.
        window: applied last.
        skip_air: probability of drawing anew a patch that is nearly all air (mean under -850 HU, at most ten times).
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
        parts = [crop, *(build_component(part, monai.transforms) for part in augmentations)]
        self._pipeline = Compose(parts)
        self._scaling = Compose(hu_scaling(window))
        self._random = [member for part in parts for member in _random_members(part)]
        self.skip_air = skip_air

    def __call__(self, image: NDArray[np.int16], seed: Sequence[int]) -> Tensor:
        """The patch that ``seed`` draws from ``image``; the same seed draws the same place and flips.

        Args:
            image: (H, W), HU; not changed.
            seed: any numbers ≥ 0.
        """
        return self.draw(image, self.chosen_seed(image, seed))

    def chosen_seed(self, image: NDArray[np.int16], seed: Sequence[int]) -> list[int]:
        """The seed with its attempt: the first whose patch is not nearly all air, so that a pair can share it."""
        for attempt in range(self.ATTEMPTS if self.skip_air else 1):
            candidate = [*seed, attempt]
            if not self.skip_air or self._patch_hu(image, candidate).float().mean() > self.AIR_HU:
                break
            if np.random.default_rng([*candidate, 1]).random() >= self.skip_air:
                break
        return candidate

    def draw(self, image: NDArray[np.int16], seed: Sequence[int]) -> Tensor:
        """The patch that ``seed`` draws, whether it is air or not; arguments as for the call."""
        patch: Tensor = self._scaling(self._patch_hu(image, seed))
        return patch.contiguous()

    def _patch_hu(self, image: NDArray[np.int16], seed: Sequence[int]) -> Tensor:
        set_track_meta(False)  # here, since a spawned loader worker does not inherit it
        states = np.random.SeedSequence(seed).generate_state(max(1, len(self._random)))
        for member, state in zip(self._random, states, strict=False):
            member.R.seed(int(state))
        patch: Tensor = self._pipeline(torch.from_numpy(np.array(image[None])))
        return patch


def _random_members(part: Any) -> Iterator[Randomizable]:
    """``part`` and the transforms inside it that draw numbers of their own (the grid of RandAffine, for one)."""
    if isinstance(part, Randomizable):
        yield part
        for member in vars(part).values():
            yield from _random_members(member)
