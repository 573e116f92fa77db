import pickle
import time
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import set_track_meta
from monai.transforms import Compose, RandFlip, RandGaussianNoise, RandSpatialCrop
from numpy.typing import NDArray
from random_states import random_states
from torch import Tensor

from ctcycle.config.components import Component
from ctcycle.config.training import Data
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.training.patches.transforms import PatchTransform, hu_scaling

WINDOWS = [
    HUWindow(),
    HUWindow(low=-1000, clip_upper=False, scale=4000),
    HUWindow(-160, 240),
    HUWindow(-999.5, 1000.25),
]
TELLING = HUWindow(-5000, 5000)  # every value below stays what it is: a pixel's value tells its place
SIZE, PATCH = 40, 24
PLACES = np.arange(SIZE * SIZE, dtype=np.int16).reshape(SIZE, SIZE)


def components(*items: dict[str, Any]) -> tuple[Component, ...]:
    return tuple(Component.model_validate(item) for item in items)


def flips(prob: float = 0.5) -> list[dict[str, Any]]:
    return [{"_target_": "RandFlip", "prob": prob, "spatial_axis": axis} for axis in (0, 1)]


FLIPS = components(*flips())


def places(patch: Tensor) -> NDArray[np.int64]:
    return np.rint(TELLING.denormalise(patch)[0].numpy()).astype(np.int64)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_monais_scaling_is_the_window_to_the_last_bit(window: HUWindow, dtype: torch.dtype) -> None:
    hu = torch.arange(-3000, 5000).to(dtype).reshape(1, 80, 100)
    scaled = Compose(hu_scaling(window))(hu)
    assert scaled.dtype == torch.float32
    assert torch.equal(torch.as_tensor(scaled), window.normalise(hu.float()))


def test_a_patch_is_a_crop_and_flips_and_nothing_else() -> None:
    transform, seen = PatchTransform(PATCH, FLIPS, TELLING), []
    for seed in range(400):
        patch = transform(PLACES, [seed])
        assert patch.shape == (1, PATCH, PATCH)
        assert patch.dtype == torch.float32
        found = places(patch)
        (top, left), (bottom, right) = (divmod(int(corner), SIZE) for corner in (found[0, 0], found[-1, -1]))
        down, across = 1 if bottom > top else -1, 1 if right > left else -1
        expected = PLACES[min(top, bottom) :, min(left, right) :][:PATCH, :PATCH][::down, ::across]
        assert np.array_equal(found, expected)
        seen.append((min(top, bottom), min(left, right), down, across))
    rows, columns, down, across = zip(*seen, strict=True)
    assert set(rows) == set(columns) == set(range(SIZE - PATCH + 1))  # the last place, too
    assert sum(row == column for row, column in zip(rows, columns, strict=True)) < 60
    flipped = Counter(zip(down, across, strict=True))
    assert [flipped[signs] / 400 for signs in product((1, -1), repeat=2)] == pytest.approx([0.25] * 4, abs=0.08)


@pytest.mark.parametrize(("patch_size", "roi_size"), [(PATCH, [PATCH, PATCH]), ((10, 30), [10, 30]), ((7, 7), [7, 7])])
def test_the_random_stream_is_that_of_monais_crop_and_then_of_the_augmentations(
    patch_size: int | tuple[int, int], roi_size: list[int]
) -> None:
    crop, noise = RandSpatialCrop(roi_size, random_size=False), RandGaussianNoise(0.7, std=30.0)
    parts = [crop, RandFlip(0.5, 0), noise, RandFlip(0.5, 1)]
    pipeline = Compose(parts)  # which seeds its parts anew, so it comes before our seeds
    first, second = flips()
    augmentations = components(first, {"_target_": "RandGaussianNoise", "prob": 0.7, "std": 30.0}, second)
    transform = PatchTransform(patch_size, augmentations, TELLING)
    for number in range(60):
        for part, state in zip(parts, np.random.SeedSequence([number, 3]).generate_state(4), strict=True):
            part.R.seed(int(state))
        expected = TELLING.normalise(pipeline(torch.from_numpy(PLACES[None].copy())).float())
        assert torch.equal(transform.draw(PLACES, [number, 3]), expected)


def test_the_same_seed_draws_the_same_from_every_image_in_any_order() -> None:
    transform = PatchTransform(PATCH, FLIPS, TELLING)
    seeds = [[number, 7] for number in range(12)]
    first = [places(transform(PLACES, seed)) for seed in seeds]
    second = [places(transform(PLACES + 5, seed)) for seed in reversed(seeds)][::-1]
    assert all(np.array_equal(a + 5, b) for a, b in zip(first, second, strict=True))
    assert len({found.tobytes() for found in first}) > 8


@pytest.mark.parametrize(
    "item",
    [
        {"_target_": "RandAffine", "prob": 1.0, "rotate_range": 0.5},
        {"_target_": "Rand2DElastic", "spacing": [10, 10], "magnitude_range": [1, 2], "prob": 1.0},
        {"_target_": "RandGaussianNoise", "prob": 1.0, "std": 10.0},
        {"_target_": "RandZoom", "prob": 1.0},
    ],
    ids=lambda item: item["_target_"],
)
def test_other_random_transforms_follow_the_seed_with_all_that_is_inside_them(item: dict[str, Any]) -> None:
    transform = PatchTransform(SIZE, components(item), TELLING)
    first, other, again = (transform(PLACES, [seed]) for seed in (1, 2, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_drawn_from_global_generators_and_the_image_is_not_changed() -> None:
    image = PLACES.copy()
    image.flags.writeable = False  # as a memory map that was opened for reading
    before = random_states()
    transform = PatchTransform(PATCH, FLIPS, HUWindow(), skip_air=0.5)
    for seed in range(20):
        transform(image, [seed])
    assert random_states() == before
    assert np.array_equal(image, PLACES)


def test_a_patch_as_large_as_the_slice_is_the_whole_slice() -> None:
    patch = PatchTransform(SIZE, (), HUWindow())(PLACES, [0])
    assert torch.equal(patch[0], HUWindow().normalise(torch.from_numpy(PLACES).float()))


HALF_AIR = np.where(np.arange(200) < 100, -1000, 0).astype(np.int16) * np.ones((40, 1), np.int16)


@pytest.mark.parametrize("window", WINDOWS[:3], ids=str)
@pytest.mark.parametrize("skip_air", [0.0, 0.5, 0.9, 1.0])
def test_air_is_drawn_anew_as_often_as_asked(window: HUWindow, skip_air: float) -> None:
    transform = PatchTransform(8, (), window, skip_air)
    draws = 250
    air = 0
    for seed in range(draws):
        patch = transform.chosen_seed(HALF_AIR, [seed])
        air += bool(transform.draw(HALF_AIR, patch).mean() == window.normalise(np.float32(-1000)))
    once = 93 / 193  # the share of places that are wholly air
    rejected = once * skip_air
    expected = (once - rejected) / (1 - rejected) if skip_air < 1 else once**10
    assert air / draws == pytest.approx(expected, abs=0.1)
    if skip_air == 1.0:
        assert air <= 1


@pytest.mark.parametrize(("body_columns", "counts_as_air"), [(1, True), (2, False)])
def test_air_is_what_has_a_mean_under_minus_850_hu(body_columns: int, counts_as_air: bool) -> None:
    image = np.full((10, 10), -1000, np.int16)
    image[:, :body_columns] = 40
    transform = PatchTransform(10, (), HUWindow(), skip_air=1.0)
    assert transform.chosen_seed(image, [3]) == [3, 9 if counts_as_air else 0]


def test_a_copy_in_another_process_draws_the_same_plain_tensors() -> None:
    transform = PatchTransform(PATCH, FLIPS, HUWindow(), 0.9)
    expected = transform(PLACES, [5])
    copied = pickle.loads(pickle.dumps(transform))  # noqa: S301 (what a spawned worker gets)
    set_track_meta(True)  # where it begins with MONAI's default
    found = copied(PLACES, [5])
    assert type(found) is Tensor
    assert torch.equal(found, expected)


def test_the_default_augmentations_are_fast_enough_for_one_core() -> None:
    data = Data(manifest=Path("manifest.csv"))
    transform = PatchTransform(data.patch_size, data.augmentations, data.hu_window)
    image = np.zeros((512, 512), np.int16)
    assert transform(image, [0]).shape == (1, 128, 128)
    spent = []
    for seed in range(40):
        begin = time.thread_time()
        transform(image, [seed])
        spent.append(time.thread_time() - begin)
    assert sorted(spent)[20] < 3e-3  # 0.3 ms where nothing else runs
