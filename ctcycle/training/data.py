"""What a training config trains on and is validated on, checked and ready for the loader."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from ctcycle.config.components import Component
from ctcycle.config.schema import AnyTrain, TrainCycleGAN, TrainNoiseSwap, TrainSupervised
from ctcycle.config.training import GUARD_THRESHOLD
from ctcycle.data.pair_check import check_pair, pair_name
from ctcycle.data.pairs import SlicePair
from ctcycle.data.slices import SliceData, StoredSlices, load_slices, open_store
from ctcycle.errors import ManifestError
from ctcycle.training.sampling import PairedPatches, UnpairedPatches
from ctcycle.training.transforms import PatchTransform
from ctcycle.training.validation import Validator

_log = logging.getLogger(__name__)
ItemT = TypeVar("ItemT")
Patches = UnpairedPatches | PairedPatches


def load_training_data(config: AnyTrain) -> tuple[Patches, Validator | None]:
    """What is trained on, and what it is validated on where the validation patients have pairs.

    Raises:
        ManifestError: too little data, slices smaller than the crop, or pairs that do not match.
        SeriesError: a series cannot be decoded.
    """
    data, settings = config.data, config.validation
    transform = PatchTransform(data.transforms, data.hu_window, data.skip_air)
    store = open_store(data.manifest, data.store, data.mu_water)
    slices = load_slices(data.manifest, store, kernel=data.kernel, splits=("train", "val"), seen=_bar("reading slices"))
    _warn_of_kernels(slices)
    patches = (
        _paired(config, slices, transform)
        if isinstance(config, TrainSupervised)
        else _unpaired(config, slices, transform)
    )
    for domain in (patches.low, patches.full):
        check_patch_size(domain, data.transforms)  # type: ignore[arg-type]
    if not slices.has_pairs("val"):
        _log.warning("no validation patient has both doses: the last weights will be taken for the best")
        return patches, None
    low, full = slices.paired("val")
    for number, pair in enumerate(slices.pairs("val")):
        check_pair(low[number], full[number], pair, GUARD_THRESHOLD, "take the patient out of the split val")
    return patches, Validator.of(low, full, settings.slices, settings.protocol)


def _warn_of_kernels(slices: SliceData) -> None:
    kernels = sorted({row.kernel for row in slices.manifest if row.split == "train"})
    if len(kernels) > 1:
        names = ", ".join(kernel or "unknown" for kernel in kernels)
        _log.warning("kernels are mixed (%s): their noise differs as doses do; data.kernel chooses one", names)


def _unpaired(config: TrainCycleGAN | TrainNoiseSwap, slices: SliceData, transform: PatchTransform) -> UnpairedPatches:
    low, full = slices.unpaired(config.data.protocol, config.seed)
    return UnpairedPatches(low, full, transform, config.seed)


def _paired(config: TrainSupervised, slices: SliceData, transform: PatchTransform) -> PairedPatches:
    data, pairs = config.data, slices.pairs("train")
    if data.pairing == "shuffled":
        order = np.random.default_rng([config.seed]).permutation(len(pairs))
        pairs = [SlicePair(pair.low_dose, pairs[other].full_dose) for pair, other in zip(pairs, order, strict=True)]
    low, full = (StoredSlices(slices.series, [getattr(pair, dose) for pair in pairs]) for dose in SlicePair._fields)
    patches = PairedPatches(low, full, transform, config.seed, data.same_crop)
    if data.guard:
        check_pairs(patches, pairs, data.guard_threshold, _bar("checking pairs"))
    return patches


def _bar(name: str) -> "Callable[[Iterable[ItemT]], Iterable[ItemT]]":
    return partial(
        tqdm, desc=name, leave=False, disable=None, dynamic_ncols=True
    )  # in a log file it could not erase itself


def check_patch_size(slices: StoredSlices, transforms: Sequence[Component]) -> None:
    """Raises ManifestError, naming the series, where a crop of ``transforms`` is larger than a slice."""
    for component in transforms:
        size = component.arguments.get("roi_size", ())
        rows, columns = (size, size) if isinstance(size, int) else (*size, 0, 0)[:2]
        for key, series in slices.series.items():
            if series.shape[1] < rows or series.shape[2] < columns:
                found = f"{series.shape[1]}x{series.shape[2]}"
                raise ManifestError(
                    f"series {key}: its slices are {found} px, smaller than the {rows}x{columns} px of "
                    f"{component.target}; set a smaller roi_size in data.transforms, or leave the series out"
                )


def check_pairs(
    data: PairedPatches,
    pairs: Sequence[SlicePair],
    threshold: float,
    seen: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> None:
    """Stops before training where the pairs that a data set delivers do not match.

    Args:
        data: what will be trained on.
        pairs: what its entries are, for the message.
        threshold: lowest correlation that passes.
        seen: wraps the numbers of the pairs: a progress bar.

    Raises:
        ManifestError: a pair does not match, or the two images of a pair are cropped or flipped differently.
    """
    for number in seen(range(len(pairs))):
        remedy = "set data.guard=false to train all the same"
        check_pair(data.low[number], data.full[number], pairs[number], threshold, remedy)
    for number in range(min(len(pairs), 8)):
        image = data.full[number]
        sample = data.patches(image, image, [data.seed, number])
        if not bool((sample["low_dose"] == sample["full_dose"]).all()):
            raise ManifestError(
                f"{pair_name(pairs[number])}: low dose and full dose are cropped or flipped differently; "
                "set data.same_crop=true, or data.guard=false to train all the same"
            )
