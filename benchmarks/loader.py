"""Crops a second of the loader: ctcycle, MONAI's CacheDataset with the same transforms, and a plain memory map."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import CacheDataset
from monai.transforms import Compose, EnsureChannelFirst, RandFlip, RandSpatialCrop, ScaleIntensityRange
from numpy.typing import NDArray

from benchmarks.measuring import Table, Work, in_turn
from ctcycle.config.training import UnpairedData
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.training.patches.sampling import UnpairedPatches
from ctcycle.training.patches.transforms import PatchTransform


def run(*, tiny: bool, rounds: int) -> list[Table]:
    """Return one table: a memory map of slices of 512 px, crops of 128 px with two flips."""
    slices, side, crop, count = (4, 64, 32, 8) if tiny else (64, 512, 128, 512)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slices.npy"
        np.save(path, np.random.default_rng(0).integers(-1000, 1000, (slices, side, side), dtype=np.int16))
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        ways: dict[str, Work] = {
            "MONAI CacheDataset, same transforms": monai_crops(stored, crop, count),
            "ctcycle": own_crops(stored, crop, count),
            "memory map, crop only": plain_crops(stored, crop, count),
        }
        return [Table(f"Crops of {crop} px from slices of {side} px", in_turn(ways, rounds), pieces=count)]


def own_crops(stored: Sequence[NDArray[np.int16]], crop: int, count: int) -> Work:
    """Return work that draws ``count`` patches, half of each domain, as training does."""
    data = UnpairedData(manifest=Path("unused"), skip_air=0.0)
    transform = PatchTransform(crop, data.augmentations, data.hu_window, data.skip_air)
    patches = UnpairedPatches(stored, stored, transform, 0)
    return lambda: [patches[0, index] for index in range(count // 2)]


def monai_crops(stored: NDArray[np.int16], crop: int, count: int) -> Work:
    """Return work that draws ``count`` patches from MONAI's cache."""
    window = HUWindow()
    transforms = Compose(
        [
            EnsureChannelFirst(channel_dim="no_channel"),
            RandSpatialCrop((crop, crop), random_size=False),
            RandFlip(0.5, 0),
            RandFlip(0.5, 1),
            ScaleIntensityRange(window.low, window.high, -1.0, 1.0, clip=True),
        ]
    )
    images: list[Any] = [np.array(image, dtype=np.float32) for image in stored]
    cache = CacheDataset(images, transforms, progress=False)
    return lambda: [cache[index % len(images)] for index in range(count)]


def plain_crops(stored: NDArray[np.int16], crop: int, count: int) -> Work:
    """Return work that copies ``count`` crops and converts them to float32: the floor."""
    rng = np.random.default_rng(1)
    places = rng.integers(0, stored.shape[1] - crop + 1, (count, 2)).tolist()

    def work() -> None:
        for index, (row, column) in enumerate(places):
            stored[index % len(stored), row : row + crop, column : column + crop].astype(np.float32)

    return work
