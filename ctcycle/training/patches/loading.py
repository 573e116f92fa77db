"""Loads and checks training patches and validation slices before the first iteration."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from ctcycle.config.methods import AnySettings
from ctcycle.config.training import GUARD_THRESHOLD
from ctcycle.data.checked_pairs import check_once
from ctcycle.data.pair_check import PairGuard
from ctcycle.data.slices import SliceData, StoredSlices, load_slices, open_store, store_folder
from ctcycle.errors import ManifestError
from ctcycle.training.method import Patches, method_class
from ctcycle.training.monitor.validation import ValidationPairs
from ctcycle.training.patches.growth import make_transform
from ctcycle.training.patches.transforms import rows_and_columns

_log = logging.getLogger(__name__)
ItemT = TypeVar("ItemT")


def load_training_data(settings: AnySettings) -> tuple[Patches, ValidationPairs]:
    """Return the training patches and the validation pairs, which are empty if no validation patient has both doses.

    Raises:
        ManifestError: too little data, slices smaller than a patch, or pairs that do not match.
        SeriesError: a series cannot be decoded.
    """
    data = settings.data
    store = open_store(data.manifest, data.store, data.mu_water, data.mu_air)
    slices = load_slices(
        data.manifest, store, kernel=data.kernel, splits=("train", "val"), seen=_progress_bar("reading slices")
    )
    _warn_about_mixed_kernels(slices)
    patches = method_class(settings.method).make_patches(
        settings, slices, make_transform(settings), _progress_bar("checking pairs")
    )
    for domain in (patches.low, patches.full):
        check_patch_size(domain, data.patch_size)  # type: ignore[arg-type]
    return patches, _validation_pairs(slices, settings.validation.slices, store_folder(data.manifest, data.store))


class DataRecord:
    """The pixels that a run is trained on, as digests in its checkpoints.

    Args:
        patches: the training patches.
    """

    def __init__(self, patches: Any) -> None:
        domains = [getattr(patches, name, None) for name in ("low", "full")]
        series = {key: one for domain in domains for key, one in getattr(domain, "series", {}).items()}
        self.digests = {key: _digest_of_slices(one.digests) for key, one in sorted(series.items())}

    def state_dict(self) -> dict[str, str]:
        """Return a digest of the pixels of each series, by its key in the manifest."""
        return self.digests

    def load_state_dict(self, _state: Mapping[str, str]) -> None:
        """Do nothing: `changed` compares before anything is restored."""

    def changed(self, before: Mapping[str, str]) -> list[str]:
        """Return the keys of series whose pixels are not those of an earlier `state_dict`."""
        return sorted(key for key, digest in before.items() if self.digests.get(key) != digest)


def _digest_of_slices(digests: Iterable[str]) -> str:
    return hashlib.blake2b(" ".join(digests).encode(), digest_size=16).hexdigest()


def _validation_pairs(slices: SliceData, most: int, store: Path) -> ValidationPairs:
    if not slices.has_pairs("val"):
        _log.warning(
            "no paired validation data: best.pt is chosen by training.watch, or is the last checkpoint if that is off"
        )
        return ValidationPairs()
    low, full = slices.paired("val")
    guard = PairGuard(GUARD_THRESHOLD, "remove the patient from the val split")
    check_once(guard, low, full, slices.pairs("val"), store)
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
