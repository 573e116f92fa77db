"""Patches that grow: size and batch by epoch, alike in both images of a pair, and in the noise."""

from typing import Any

import numpy as np
import pytest
import torch

from ctcycle.config.methods import SupervisedSettings
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.training.patches.growth import batch_sizes, first_epochs, make_transform
from ctcycle.training.patches.sampling import EpochSampler, PairedPatches, UnpairedPatches, make_loader
from ctcycle.training.patches.transforms import GrowingTransform, PatchTransform

STAGES = [{"until": 0.3, "side": 8, "batch_size": 6}, {"until": 0.75, "side": 12}]


def settings(epochs: int = 10, stages: Any = STAGES) -> SupervisedSettings:
    data = {"manifest": "m.csv", "patch_size": 16, "augmentations": [], "growing_patches": stages, "skip_air": 0.0}
    training = {"epochs": epochs, "batch_size": 3}
    return SupervisedSettings.model_validate({"method": "supervised", "data": data, "training": training}, strict=False)


def slices(count: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(-500, 500, (20, 24)).astype(np.int16) for _ in range(count)]


@pytest.mark.parametrize(
    ("epochs", "sides"),
    [(10, [8] * 3 + [12] * 5 + [16] * 2), (4, [8, 8, 12, 16]), (2, [8, 12]), (1, [8])],
)
def test_a_stage_ends_with_the_first_epoch_that_reaches_its_share(epochs: int, sides: list[int]) -> None:
    given = settings(epochs)
    transform, sizes = make_transform(given), batch_sizes(given)
    found = [transform.in_epoch(epoch)(slices(1)[0], [0]).shape for epoch in range(epochs)]
    assert found == [(1, side, side) for side in sides]
    assert [sizes(epoch) for epoch in range(epochs)] == [6 if side == 8 else 3 for side in sides]


def test_without_stages_nothing_changes() -> None:
    given = settings(stages=[])
    assert first_epochs(given) == ()
    assert isinstance(make_transform(given), PatchTransform)
    assert {batch_sizes(given)(epoch) for epoch in range(10)} == {3}


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_follows_the_epochs(workers: int) -> None:
    given, images = settings(), slices()
    data = PairedPatches(images, images, make_transform(given), seed=0)
    sampler = EpochSampler(2, batch_sizes(given))
    loader = make_loader(data, sampler, workers)
    assert len(loader) == 2
    shapes = []
    for epoch in (2, 3, 8):
        sampler.epoch = epoch
        batches = list(loader)
        assert all(torch.equal(batch["low_dose"], batch["full_dose"]) for batch in batches)
        shapes.append({tuple(batch["low_dose"].shape) for batch in batches})
        assert len(batches) == 2
    assert shapes == [{(6, 1, 8, 8)}, {(3, 1, 12, 12)}, {(3, 1, 16, 16)}]


def test_each_stage_cuts_what_training_at_its_size_alone_would_cut() -> None:
    window = HUWindow()
    small, large = (PatchTransform(side, (), window) for side in (8, 16))
    growing = GrowingTransform((small, large), (1,))
    grown = UnpairedPatches(slices(), slices(), growing, seed=4)
    for epoch, transform in enumerate((small, large)):
        whole = UnpairedPatches(slices(), slices(), transform, seed=4)
        for index in range(6):
            for name in ("low_dose", "full_dose"):
                assert torch.equal(grown[epoch, index][name], whole[epoch, index][name])
