"""Patches that grow during training (progressive growing, Karras et al. 2018): size and batch by epoch.

Both are pure functions of the epoch, so resuming is exact.
"""

from collections.abc import Callable
from functools import partial

from ctcycle.config.methods import AnySettings
from ctcycle.config.training import Data
from ctcycle.training.patches.transforms import GrowingTransform, PatchTransform


def first_epochs(settings: AnySettings) -> tuple[int, ...]:
    """Return the first epoch, counted from 0, of each stage after the first: the first with progress ``until``."""
    epochs = settings.training.epochs
    return tuple(
        next((epoch for epoch in range(epochs) if epoch / epochs >= stage.until), epochs)
        for stage in settings.data.growing_patches
    )


def make_transform(settings: AnySettings) -> PatchTransform | GrowingTransform:
    """Return the transform that makes patches, of the size that ``data`` says for each epoch."""
    data = settings.data
    final = _transform(data, data.patch_size)
    if not data.growing_patches:
        return final
    return GrowingTransform(
        (*(_transform(data, stage.side) for stage in data.growing_patches), final), first_epochs(settings)
    )


def batch_sizes(settings: AnySettings) -> Callable[[int], int]:
    """Return a function from the epoch, counted from 0, to its batch size."""
    usual = settings.training.batch_size
    sizes = [stage.batch_size or usual for stage in settings.data.growing_patches]
    return partial(_size_at, (*sizes, usual), first_epochs(settings))


def _size_at(sizes: tuple[int, ...], starts: tuple[int, ...], epoch: int) -> int:
    return sizes[sum(epoch >= start for start in starts)]


def _transform(data: Data, size: int | tuple[int, int]) -> PatchTransform:
    return PatchTransform(size, data.augmentations, data.hu_window, data.skip_air)
