# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Slices for ``configs/train.json`` of a bundle: fine-tuning on pairs of low and full dose."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.bundle.runtime.pairs import PairFolder, SeriesPair
from scripts.ct.hounsfield import HUWindow
from scripts.errors import ConfigError, SeriesError

ItemT = TypeVar("ItemT")


class SlicePairs(Sequence[dict[str, Tensor]]):
    """Pairs of slices in the network's range, (1, H, W) each: ``image`` (low dose) and ``label`` (full dose).

    Whole folders are held out for validation, the first ones: folders beside each other are patients in the usual
    layout. Of a single folder the first slices are. All is read, and kept in memory, when the first is asked for.

    Args:
        pairs: where they come from.
        part: "train", or "val" for what is held out.
        window: that of the network.
        val_fraction: so much of the folders (or slices) is held out, at least one.

    Raises:
        ConfigError: a fraction that is none.
    """

    def __init__(
        self, pairs: PairFolder, part: Literal["train", "val"], window: HUWindow, val_fraction: float = 0.2
    ) -> None:
        if not 0 < val_fraction < 1:
            raise ConfigError(f"val_fraction {val_fraction}: must lie between 0 and 1")
        self._pairs, self._part, self._window, self._val_fraction = pairs, part, window, val_fraction

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:  # type: ignore[override]  # slices are never needed
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
                f"{self._pairs.low}: a single slice; fine-tuning needs some to train on, and some to validate"
            )
        held_out = min(math.ceil(len(items) * self._val_fraction), len(items) - 1)
        return items[:held_out] if self._part == "val" else items[held_out:]

    def _read(self, pair: SeriesPair) -> list[tuple[Tensor, Tensor]]:
        return [(self._image(low), self._image(full)) for low, full in pair.slices()]

    def _image(self, hu: NDArray[np.float32]) -> Tensor:
        image: Tensor = self._window.normalise(torch.from_numpy(hu))[None]
        return image


def _folder(pair: SeriesPair) -> str:
    """The folder under the root that a series lies in, or the series itself."""
    return pair.name.split("/")[0]
