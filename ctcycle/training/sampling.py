"""Unpaired and paired training samples, as pure functions of (seed, epoch, index).

A sample is ``{"low_dose": (1, h, w), "full_dose": (1, h, w)}`` float32 in the network's range, and with simulated noise
also ``"noise"``. Because sampling has no
state, training can resume in the middle of an epoch and does not depend on the number of workers.
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
from ctcycle.training.simulated_noise.draws import NoiseDraws
from ctcycle.training.transforms import PatchTransform

PatchPair = dict[str, Tensor]
Slices = Sequence[NDArray[np.int16]]
"""Memory-mapped slices (H, W) in HU, one per entry."""

_LOW, _FULL, _PATCH, _NOISE = 1, 2, 3, 4  # streams of random numbers under one seed


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) for every sample of an epoch, so that loader workers know the epoch.

    Attributes:
        length: samples per epoch.
        epoch: epoch of the next pass, set by the caller.
        skip: samples to skip at the start of the next pass, after a resume; that pass resets it to 0.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0
        self.skip = 0

    def attach(self, engine: Engine, batch_size: int) -> None:
        """Follow the epochs of ``engine``; after a resume within an epoch, skip the batches already done."""

        def start_epoch(engine: Engine) -> None:
            self.epoch = engine.state.epoch - 1
            self.skip = engine.state.iteration % (engine.state.epoch_length or 1) * batch_size

        engine.add_event_handler(Events.EPOCH_STARTED, start_epoch)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, start, self.skip = self.epoch, self.skip, 0
        return ((epoch, index) for index in range(start, self.length))

    def __len__(self) -> int:
        return self.length


def shuffled_index(seed: Sequence[int], index: int, length: int) -> int:
    """Return entry ``index`` of an endless sequence of random permutations of ``range(length)``."""
    turn, position = divmod(index, length)
    return int(np.random.default_rng([*seed, turn]).permutation(length)[position])


@dataclass(frozen=True)
class UnpairedPatches(Dataset[PatchPair]):
    """Patches of both domains, drawn independently.

    Attributes:
        low: low-dose slices.
        full: full-dose slices.
        transform: makes a patch from a slice.
        seed: seed of all random draws.
        fixed_partners: whether each low-dose slice keeps one full-dose slice as its partner, drawn once from the seed
            (the report's code); otherwise each epoch combines the slices differently. Crops differ in every epoch.
        noise: simulated noise of the full-dose slices; if given, samples have it as "noise", cropped as full dose.
    """

    low: Slices
    full: Slices
    transform: PatchTransform
    seed: int
    fixed_partners: bool = False
    noise: NoiseDraws | None = None

    def __getitem__(self, key: tuple[int, int]) -> PatchPair:
        epoch, index = key
        low_seed, full_seed = ([self.seed, stream, epoch] for stream in (_LOW, _FULL))
        low = shuffled_index(low_seed, index, len(self.low))
        full = self.partner(low) if self.fixed_partners else shuffled_index(full_seed, index, len(self.full))
        chosen = self.transform.chosen_seed(self.full[full], [*full_seed, _PATCH, index])
        sample = {
            "low_dose": self.transform(self.low[low], [*low_seed, _PATCH, index]),
            "full_dose": self.transform.draw(self.full[full], chosen),
        }
        if self.noise is not None:
            noise = self.noise.draw(full, np.random.default_rng([*chosen, _NOISE]))
            sample["noise"] = self.transform.draw_difference(noise, chosen)
        return sample

    def partner(self, low: int) -> int:
        """Return the index of the full-dose slice that low-dose slice ``low`` keeps; all are used equally often."""
        return shuffled_index([self.seed, _FULL], low, len(self.full))


@dataclass(frozen=True)
class PairedPatches(Dataset[PatchPair]):
    """Pairs of patches: the same crop of the same slice at both doses.

    Attributes:
        low: low-dose slices.
        full: full-dose slices; entry i shows the anatomy of ``low[i]``.
        transform: makes a patch from a slice.
        seed: seed of all random draws.
        same_crop: False crops and flips each image independently (the report's error, kept to reproduce it).
    """

    low: Slices
    full: Slices
    transform: PatchTransform
    seed: int
    same_crop: bool = True

    def __getitem__(self, key: tuple[int, int]) -> PatchPair:
        epoch, index = key
        number = shuffled_index([self.seed, _LOW, epoch], index, len(self.low))
        return self.patches(self.low[number], self.full[number], [self.seed, _PATCH, epoch, index])

    def patches(self, low: NDArray[np.int16], full: NDArray[np.int16], seed: list[int]) -> PatchPair:
        """Return the patches that ``seed`` draws from two slices (H, W) of the same size."""
        chosen = self.transform.chosen_seed(full, seed)
        other = chosen if self.same_crop else [*chosen, _FULL]
        return {"low_dose": self.transform.draw(low, chosen), "full_dose": self.transform.draw(full, other)}


def make_loader(
    dataset: Dataset[PatchPair], sampler: EpochSampler, batch_size: int, workers: int
) -> DataLoader[PatchPair]:
    """Return a loader of batches (N, 1, h, w) in the order of ``sampler``; it does not use the global generators."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # otherwise every epoch draws a base seed from the global generator
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=follow_parent if workers else None,
    )


def stop_workers(loader: DataLoader[PatchPair]) -> None:
    """Stop the loader's workers now; if left to garbage collection, torch takes five seconds for each."""
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()  # noqa: SLF001 (there is no public way)
        for worker in iterator._workers:  # noqa: SLF001
            worker.kill()  # only has an effect on a worker that is still blocked in a read
