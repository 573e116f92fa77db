"""Unpaired and paired training samples, as a pure function of (seed, epoch, index).

A sample is ``{"low_dose": (1, h, w), "full_dose": (1, h, w)}`` float32 in the network's range. That no state is kept
makes training resumable in the middle of an epoch, and the same for any number of workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ctcycle.signals import follow_parent
from ctcycle.training.transforms import PatchTransform

PatchPair = dict[str, Tensor]
Slices = Sequence[NDArray[np.int16]]
"""Slices (H, W) in HU, memory-mapped: one entry a slice."""

_LOW, _FULL, _PATCH = 1, 2, 3  # streams of random numbers under one seed


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, index) for every sample of one epoch; the epoch travels with the index into the workers.

    Attributes:
        length: samples in an epoch.
        epoch: of the next pass, set by the caller.
        skip: samples that the next pass leaves out at its start, on resume; taken back to 0 by that pass.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0
        self.skip = 0

    def attach(self, engine: Engine, batch_size: int) -> None:
        """Follow the epochs of ``engine``; one that starts inside an epoch skips the batches already seen."""

        def place(engine: Engine) -> None:
            self.epoch = engine.state.epoch - 1
            self.skip = engine.state.iteration % (engine.state.epoch_length or 1) * batch_size

        engine.add_event_handler(Events.EPOCH_STARTED, place)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, start, self.skip = self.epoch, self.skip, 0
        return ((epoch, index) for index in range(start, self.length))

    def __len__(self) -> int:
        return self.length


def shuffled_index(seed: Sequence[int], index: int, length: int) -> int:
    """Entry ``index`` of an endless sequence of random permutations of ``range(length)``."""
    turn, place = divmod(index, length)
    return int(np.random.default_rng([*seed, turn]).permutation(length)[place])


@dataclass(frozen=True)
class UnpairedPatches(Dataset[PatchPair]):
    """Patches of two domains, drawn independently; the partner of a patch is another one in every epoch.

    Attributes:
        low: low-dose slices.
        full: full-dose slices.
        transform: slice to patch.
        seed: of all draws.
    """

    low: Slices
    full: Slices
    transform: PatchTransform
    seed: int

    def __getitem__(self, key: tuple[int, int]) -> PatchPair:
        epoch, index = key
        return {
            name: self._patch(slices, [self.seed, stream, epoch], index)
            for name, slices, stream in (("low_dose", self.low, _LOW), ("full_dose", self.full, _FULL))
        }

    def _patch(self, slices: Slices, seed: list[int], index: int) -> Tensor:
        image = slices[shuffled_index(seed, index, len(slices))]
        return self.transform(image, [*seed, _PATCH, index])


@dataclass(frozen=True)
class PairedPatches(Dataset[PatchPair]):
    """The same place of the same slice at both doses.

    Attributes:
        low: low-dose slices.
        full: full-dose slices; entry i shows the anatomy of ``low[i]``.
        transform: slice to patch.
        seed: of all draws.
        same_crop: False draws crop and flips for each image on its own (the report's fault, kept for study).
    """

    low: Slices
    full: Slices
    transform: PatchTransform
    seed: int
    same_crop: bool = True

    def __getitem__(self, key: tuple[int, int]) -> PatchPair:
        epoch, index = key
        place = shuffled_index([self.seed, _LOW, epoch], index, len(self.low))
        return self.patches(self.low[place], self.full[place], [self.seed, _PATCH, epoch, index])

    def patches(self, low: NDArray[np.int16], full: NDArray[np.int16], seed: list[int]) -> PatchPair:
        """The patches that ``seed`` draws from two slices (H, W) of the same size."""
        chosen = self.transform.chosen_seed(full, seed)
        other = chosen if self.same_crop else [*chosen, _FULL]
        return {"low_dose": self.transform.draw(low, chosen), "full_dose": self.transform.draw(full, other)}


def make_loader(
    dataset: Dataset[PatchPair], sampler: EpochSampler, batch_size: int, workers: int
) -> DataLoader[PatchPair]:
    """Batches (N, 1, h, w) of ``dataset`` in the order of ``sampler``; the global generators are left alone."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else every epoch would draw a base seed from the global one
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=follow_parent if workers else None,
    )


def stop_workers(loader: DataLoader[PatchPair]) -> None:
    """Ends the workers of a loader now; to the garbage collector, torch needs five seconds for each of them."""
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()  # noqa: SLF001 (there is no public way)
        for worker in iterator._workers:  # noqa: SLF001
            worker.kill()  # one that still hangs in a read; the others have ended
