"""The dataset used in ``configs/train.json`` of a bundle, which fine-tunes on pairs of low and full dose."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctcycle.bundle.runtime.pairs import PairFolder, SeriesPair
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.errors import ConfigError, SeriesError

ItemT = TypeVar("ItemT")


class PairDataset(Sequence[dict[str, Tensor]]):
    """Pairs of slices in the network's range, (1, H, W) each: ``image`` (low dose) and ``label`` (full dose).

    The first folders are held out for validation, since each folder is usually one patient. If there is only one
    folder, its first slices are held out. All slices are read on first access and kept in memory.

    Args:
        pairs: the series to take the slices from.
        part: "train", or "val" for the held-out slices.
        window: HU window of the network.
        val_fraction: fraction of folders (or slices) to hold out, at least one.

    Raises:
        ConfigError: ``val_fraction`` is out of range.
    """

    def __init__(
        self, pairs: PairFolder, part: Literal["train", "val"], window: HUWindow, val_fraction: float = 0.2
    ) -> None:
        if not 0 < val_fraction < 1:
            raise ConfigError(f"val_fraction={val_fraction}: must be between 0 and 1")
        self._pairs, self._part, self._window, self._val_fraction = pairs, part, window, val_fraction

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:  # type: ignore[override]  # slicing is not supported
        image, label = self._slices[index]
        return {"image": image, "label": label}

    @cached_property
    def _slices(self) -> list[tuple[Tensor, Tensor]]:
        pairs = self._pairs.pairs
        folders = sorted({_folder(pair) for pair in pairs})
        if len(folders) > 1:
            chosen = set(self._chosen(folders))
            return [entry for pair in pairs if _folder(pair) in chosen for entry in self._read(pair)]
        return list(self._chosen([entry for pair in pairs for entry in self._read(pair)]))

    def _chosen(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        if len(items) < 2:
            raise SeriesError(
                f"{self._pairs.low}: contains only one slice; fine-tuning needs slices for both training and validation"
            )
        held_out = min(math.ceil(len(items) * self._val_fraction), len(items) - 1)
        return items[:held_out] if self._part == "val" else items[held_out:]

    def _read(self, pair: SeriesPair) -> list[tuple[Tensor, Tensor]]:
        return [(self._image(low), self._image(full)) for low, full in pair.slices()]

    def _image(self, hu: NDArray[np.float32]) -> Tensor:
        image: Tensor = self._window.normalise(torch.from_numpy(hu))[None]
        return image


def _folder(pair: SeriesPair) -> str:
    """Return the top-level folder that contains a series, or the series itself."""
    return pair.name.split("/")[0]
