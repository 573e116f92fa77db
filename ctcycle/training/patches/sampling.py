"""Unpaired and paired training samples, as pure functions of (seed, epoch, index).

A sample is ``{"low_dose": (1, h, w), "full_dose": (1, h, w)}`` float32 in the network's range; with simulated noise
also ``"noise"``, with lesions also ``"lesions"``. Because sampling has no state, training can resume in the middle of
an epoch and does not depend on the number of workers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ctcycle.runs import ranks
from ctcycle.runs.launch import launch
from ctcycle.signals import follow_parent
from ctcycle.simulation.processes import available_cores
from ctcycle.training.patches.lesions import LesionDraw
from ctcycle.training.patches.transforms import GrowingTransform, PatchTransform
from ctcycle.training.simulated_noise.draws import NoiseDraws

PatchPair = dict[str, Tensor]
Slices = Sequence[NDArray[np.int16]]
"""Memory-mapped slices (H, W) in HU, one per entry."""

_ENOUGH_WORKERS = 4
_LOW, _FULL, _PATCH, _NOISE, _LESIONS = 1, 2, 3, 4, 5  # streams of random numbers under one seed


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Yields batches of (epoch, index), one pair for every sample, so that loader workers know the epoch.

    Each rank gets its part of the same batches.

    Attributes:
        length: batches per epoch.
        batch_size: returns the size of the batches of an epoch, counted from 0; over all ranks.
        epoch: epoch of the next pass, set by the caller.
        skip: batches to skip at the start of the next pass, after a resume; that pass resets it to 0.
    """

    def __init__(self, length: int, batch_size: Callable[[int], int]) -> None:
        self.length = length
        self.batch_size = batch_size
        self.epoch = 0
        self.skip = 0

    def attach(self, engine: Engine) -> None:
        """Follow the epochs of ``engine``; after a resume within an epoch, skip the batches already done."""

        def start_epoch(engine: Engine) -> None:
            self.epoch = engine.state.epoch - 1
            self.skip = engine.state.iteration % (engine.state.epoch_length or 1)

        engine.add_event_handler(Events.EPOCH_STARTED, start_epoch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self._batches(self.epoch)

    def _batches(self, epoch: int) -> Iterator[list[tuple[int, int]]]:
        # the skip is used up by the first batch: loaders with workers make two iterators and start only one
        start, self.skip = self.skip, 0
        for batch in range(start, self.length):
            yield self.batch(epoch, batch)

    def batch(self, epoch: int, number: int) -> list[tuple[int, int]]:
        """Return this rank's part of one batch; epochs and batches are counted from 0."""
        size = self.batch_size(epoch)
        return [(epoch, number * size + index) for index in ranks.my_part(size)]

    def __len__(self) -> int:
        return self.length


def shuffled_index(seed: Sequence[int], index: int, length: int) -> int:
    """Return entry ``index`` of an endless sequence of random permutations of ``range(length)``."""
    turn, position = divmod(index, length)
    return int(_permutation((*seed, turn), length)[position])


@lru_cache(maxsize=8)  # low and full dose, this epoch and the next
def _permutation(seed: tuple[int, ...], length: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(length)


@dataclass(frozen=True)
class UnpairedPatches(Dataset[PatchPair]):
    """Patches of both domains, drawn independently.

    Attributes:
        low: low-dose slices.
        full: full-dose slices.
        transform: makes a patch from a slice; may depend on the epoch.
        seed: seed of all random draws.
        fixed_partners: whether each low-dose slice keeps one full-dose slice as its partner, drawn once from the seed
            (the report's code); otherwise each epoch combines the slices differently. Crops differ in every epoch.
        noise: simulated noise of the full-dose slices; if given, samples have it as "noise", cropped as full dose.
        lesions: adds lesions to full dose; needs noise. Samples then have them as "lesions", as in `PairedPatches`.
        pixel_mm: pixel size of each full-dose slice, for lesions.
    """

    low: Slices
    full: Slices
    transform: PatchTransform | GrowingTransform
    seed: int
    fixed_partners: bool = False
    noise: NoiseDraws | None = None
    lesions: LesionDraw | None = None
    pixel_mm: Sequence[float] = ()

    def __getitem__(self, key: tuple[int, int]) -> PatchPair:
        epoch, index = key
        transform = self.transform.in_epoch(epoch)
        low_seed, full_seed = ([self.seed, stream, epoch] for stream in (_LOW, _FULL))
        low = shuffled_index(low_seed, index, len(self.low))
        full = self.partner(low) if self.fixed_partners else shuffled_index(full_seed, index, len(self.full))
        chosen = transform.chosen_seed(self.full[full], [*full_seed, _PATCH, index])
        sample = {
            "low_dose": transform(self.low[low], [*low_seed, _PATCH, index]),
            "full_dose": transform.draw(self.full[full], chosen),
        }
        if self.noise is not None:
            noise = self.noise.draw(full, np.random.default_rng([*chosen, _NOISE]))
            sample["noise"] = transform.draw_difference(noise, chosen)
        if self.lesions is not None:
            hu = transform.patch_hu(self.full[full], chosen).float()
            noise_hu = sample["noise"] * transform.hu_per_unit
            drawn = drawn_lesions(self.lesions, hu, noise_hu, self.pixel_mm[full], chosen)
            sample |= {"full_dose": transform.scaled(hu + drawn[:1]), "lesions": in_units(drawn, transform)}
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
        transform: makes a patch from a slice; may depend on the epoch.
        seed: seed of all random draws.
        same_crop: False crops and flips each image independently (the report's error, kept to reproduce it).
        lesions: adds lesions to both patches; samples then have them (in the network's range) and their templates as
            "lesions", see `LesionDraw.draw`.
        pixel_mm: pixel size of each slice, for lesions.
    """

    low: Slices
    full: Slices
    transform: PatchTransform | GrowingTransform
    seed: int
    same_crop: bool = True
    lesions: LesionDraw | None = None
    pixel_mm: Sequence[float] = ()

    def __getitem__(self, key: tuple[int, int]) -> PatchPair:
        epoch, index = key
        number, seed = shuffled_index([self.seed, _LOW, epoch], index, len(self.low)), [self.seed, _PATCH, epoch, index]
        if self.lesions is None:
            return self.patches(self.low[number], self.full[number], seed, epoch)
        return self._with_lesions(number, seed, self.lesions, self.transform.in_epoch(epoch))

    def patches(self, low: NDArray[np.int16], full: NDArray[np.int16], seed: list[int], epoch: int = 0) -> PatchPair:
        """Return the patches that ``seed`` draws from two slices (H, W) of the same size, as large as in ``epoch``."""
        transform = self.transform.in_epoch(epoch)
        chosen = transform.chosen_seed(full, seed)
        other = chosen if self.same_crop else [*chosen, _FULL]
        return {"low_dose": transform.draw(low, chosen), "full_dose": transform.draw(full, other)}

    def _with_lesions(self, number: int, seed: list[int], lesions: LesionDraw, transform: PatchTransform) -> PatchPair:
        chosen = transform.chosen_seed(self.full[number], seed)
        low, full = (transform.patch_hu(domain[number], chosen).float() for domain in (self.low, self.full))
        drawn = drawn_lesions(lesions, full, low - full, self.pixel_mm[number], chosen)
        return {
            "low_dose": transform.scaled(low + drawn[:1]),
            "full_dose": transform.scaled(full + drawn[:1]),
            "lesions": in_units(drawn, transform),
        }


def drawn_lesions(
    lesions: LesionDraw, full_hu: Tensor, noise_hu: Tensor, pixel_mm: float, seed: Sequence[int]
) -> Tensor:
    """Return what `LesionDraw.draw` draws with ``seed`` for patches (1, h, w) of full dose and of noise, in HU."""
    rng = np.random.default_rng([*seed, _LESIONS])
    return torch.from_numpy(lesions.draw(full_hu[0].numpy(), noise_hu[0].numpy(), pixel_mm, rng))


def in_units(lesions: Tensor, transform: PatchTransform) -> Tensor:
    """Return drawn lesions with their HU converted to the network's range; templates stay as they are."""
    return torch.cat([lesions[:1] / transform.hu_per_unit, lesions[1:]])


def make_loader(dataset: Dataset[PatchPair], sampler: EpochSampler, workers: int | None) -> DataLoader[PatchPair]:
    """Return a loader of batches (N, 1, h, w) in the order of ``sampler``; it does not use the global generators.

    Args:
        dataset: yields samples.
        sampler: their order, and the batches.
        workers: number of processes, limited to the number of cores per rank; None: one less than that, at most 4.
            Their number changes nothing but the speed.
    """
    cores = max(1, available_cores() // launch().local_world)
    workers = min(cores - 1, _ENOUGH_WORKERS) if workers is None else min(workers, cores)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
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


def lost_worker(error: RuntimeError) -> str | None:
    """Return a sentence about a loader worker that died without an error of its own; None for any other error."""
    if not str(error).startswith("DataLoader worker (pid"):
        return None
    return (
        "a process that loads training slices was killed, probably for lack of memory; set data.workers to a smaller "
        "number, and run again to resume from the last checkpoint"
    )
