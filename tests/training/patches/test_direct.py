from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlip, RandGaussianNoise, RandRotate90, RandSpatialCrop

from ctcycle.training.patches.direct import direct_steps

IMAGE = np.arange(30 * 23, dtype=np.int16).reshape(30, 23)


def flip(**arguments: Any) -> RandFlip:
    return RandFlip(**{"prob": 0.5, **arguments})


def turn(**arguments: Any) -> RandRotate90:
    return RandRotate90(**{"prob": 0.75, **arguments})


@pytest.mark.parametrize(
    "augmentations",
    [
        [],
        [flip(spatial_axis=0), flip(spatial_axis=1)],
        [flip(spatial_axis=-1), turn(spatial_axes=[0, 1])],
        [flip(spatial_axis=None), turn(spatial_axes=(1, 0), max_k=1)],
        [turn(max_k=2), flip(spatial_axis=[0, 1], prob=0.2)],
        [flip(prob=1.0, spatial_axis=0), flip(prob=0.0, spatial_axis=1)],
    ],
    ids=["crop", "flips", "flip-turn", "all-axes", "turn-flip", "sure"],
)
@pytest.mark.parametrize("size", [[8, 8], [12, 5], [30, 23], [40, 6]], ids=str)
def test_patches_are_those_of_monai_bit_for_bit(augmentations: list[Any], size: list[int]) -> None:
    parts = [RandSpatialCrop(size, random_size=False), *augmentations]
    steps, pipeline = direct_steps(parts), Compose(parts)
    assert steps is not None
    shown = set()
    for seed in range(60):
        for number, part in enumerate(parts):
            part.R.seed(seed + 1000 * number)
        expected = pipeline(torch.from_numpy(IMAGE[None].copy()))
        for number, part in enumerate(parts):
            part.R.seed(seed + 1000 * number)
        found = IMAGE
        for step in steps:
            found = step(found)
        assert np.array_equal(found, expected[0].numpy())
        shown.add(found.tobytes())
    assert len(shown) > 1 or size == [30, 23]


def test_nothing_is_copied_before_the_patch_is_complete() -> None:
    steps = direct_steps([RandSpatialCrop([8, 8], random_size=False), flip(spatial_axis=0), turn()])
    assert steps is not None
    for _ in range(10):
        found = IMAGE
        for step in steps:
            found = step(found)
        assert np.shares_memory(found, IMAGE)


def test_what_is_not_known_is_left_to_monai() -> None:
    crop = RandSpatialCrop([8, 8], random_size=False)
    assert direct_steps([crop, RandGaussianNoise(1.0)]) is None
    assert direct_steps([crop, flip(), type("Mine", (RandFlip,), {})(0.5)]) is None
