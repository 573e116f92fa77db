"""Loads and checks training patches and validation slices before the first iteration."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from ctcycle.config.methods import AnySettings
from ctcycle.config.training import GUARD_THRESHOLD
from ctcycle.data.pair_check import PairGuard
from ctcycle.data.slices import SliceData, StoredSlices, load_slices, open_store
from ctcycle.errors import ManifestError
from ctcycle.training.method import Patches, method_class
from ctcycle.training.transforms import PatchTransform, rows_and_columns
from ctcycle.training.validation import ValidationPairs

_log = logging.getLogger(__name__)
ItemT = TypeVar("ItemT")


def load_training_data(settings: AnySettings) -> tuple[Patches, ValidationPairs]:
    """Return the training patches and the validation pairs, which are empty if no validation patient has both doses.

    Raises:
        ManifestError: too little data, slices smaller than a patch, or pairs that do not match.
        SeriesError: a series cannot be decoded.
    """
    data = settings.data
    transform = PatchTransform(data.patch_size, data.augmentations, data.hu_window, data.skip_air)
    store = open_store(data.manifest, data.store, data.mu_water, data.mu_air)
    slices = load_slices(
        data.manifest, store, kernel=data.kernel, splits=("train", "val"), seen=_progress_bar("reading slices")
    )
    _warn_about_mixed_kernels(slices)
    patches = method_class(settings.method).make_patches(settings, slices, transform, _progress_bar("checking pairs"))
    for domain in (patches.low, patches.full):
        check_patch_size(domain, data.patch_size)  # type: ignore[arg-type]
    return patches, _validation_pairs(slices, settings.validation.slices)


def _validation_pairs(slices: SliceData, most: int) -> ValidationPairs:
    if not slices.has_pairs("val"):
        _log.warning("no paired validation data: the last checkpoint will be used as best.pt")
        return ValidationPairs()
    low, full = slices.paired("val")
    PairGuard(GUARD_THRESHOLD, "remove the patient from the val split").check(low, full, slices.pairs("val"))
    return ValidationPairs.spread(low, full, most)


def _warn_about_mixed_kernels(slices: SliceData) -> None:
    kernels = sorted({row.kernel for row in slices.manifest if row.split == "train"})
    if len(kernels) > 1:
        names = ", ".join(kernel or "unknown" for kernel in kernels)
        _log.warning(
            "mixed kernels (%s): noise differs by kernel as it does by dose; set data.kernel to use one", names
        )


def _progress_bar(name: str) -> "Callable[[Iterable[ItemT]], Iterable[ItemT]]":
    # disable=None: no bar in a log file, where it could not erase itself
    return partial(tqdm, desc=name, leave=False, disable=None, dynamic_ncols=True)


def check_patch_size(slices: StoredSlices, patch_size: int | tuple[int, int]) -> None:
    """Check that no slice is smaller than a patch.

    Raises:
        ManifestError: a slice is smaller; the message names the series.
    """
    rows, columns = rows_and_columns(patch_size)
    for key, height, width in sorted(slices.shapes()):
        if height < rows or width < columns:
            raise ManifestError(
                f"series {key}: slices are {height}x{width} px, smaller than the "
                f"{rows}x{columns} px of data.patch_size; set a smaller patch size, or exclude the series"
            )
