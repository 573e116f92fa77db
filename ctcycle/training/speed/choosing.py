"""Chooses the memory format and the precision of a new run by timing a few steps of its own networks on its device.

Everything is tried on a second set of networks and optimisers, with random generators of its own, so that training
afterwards is the same as if nothing had been measured.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

from ctcycle.config.methods import AnySettings
from ctcycle.runs import ranks
from ctcycle.training.building import Parts
from ctcycle.training.method import Method, build_method
from ctcycle.training.patches.sampling import PatchPair
from ctcycle.training.speed.layout import LayoutName, set_layout, words
from ctcycle.training.speed.precision import PrecisionName, set_precision
from ctcycle.training.updates import Losses

_log = logging.getLogger(__name__)
WORTHWHILE = 1000
"""Shorter trainings, in iterations, take the usual format: measuring would cost more than it could save."""

_ROUNDS, _WARM_UP, _TIMED = 3, 1, 2
_LEAST_GAIN = {"fp32": 0.05, "bf16": 0.1, "fp16": 0.1}
"""Share of the time that a change must save: below, it may be chance, and runs would differ for nothing."""

_SAME = {"fp32": 1e-2, "bf16": 0.1, "fp16": 0.1}
"""Largest relative difference of a loss term from that of the usual choice; more is a fault of a format."""

_CPU_PATCHES = 4
"""On a CPU, so many patches show which format is faster; a whole batch may take minutes."""


class Way(NamedTuple):
    """A way to train: format and precision."""

    layout: LayoutName
    precision: PrecisionName

    def __str__(self) -> str:
        return f"{words(self.layout)} in {self.precision}"


@dataclass
class Trial:
    """Steps of one way.

    Attributes:
        seconds: of each timed step.
        terms: loss terms of the first steps.
    """

    seconds: list[float] = field(default_factory=list)
    terms: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The seconds of the fastest step; whatever else the machine does can only slow a step down."""
        return min(self.seconds)


def settle(parts: Parts) -> None:
    """Choose format and precision for a new run, and log the choice."""
    settings, layout, precision = parts.settings, parts.layout, parts.precision
    ways = tuple(Way(one, other) for other in precision.candidates() for one in layout.candidates())
    iterations = settings.training.epochs * len(parts.loader)
    if len(ways) == 1 or iterations < WORTHWHILE:
        return
    found = measure(settings, parts.device, first_patches(parts), ways)
    chosen = ranks.from_first(lambda: choose(found))
    layout.set(chosen.layout)
    precision.set(chosen.precision)
    _log.info("%s", explained(found, chosen))


def measure(settings: AnySettings, device: torch.device, batch: PatchPair, ways: tuple[Way, ...]) -> dict[Way, Trial]:
    """Return the timed steps of each way, taken in turn; on several ranks, the seconds are those of the slowest.

    Args:
        settings: of the training.
        device: to train on.
        batch: patches, as the loader returns them.
        ways: what to try.
    """
    found = {way: Trial() for way in ways}
    with _own_random_numbers(device):
        method = build_method(settings.model_copy(update={"initial": None}), device)
        method.updates.parts = 1
        start = {name: value.clone() for name, value in method.networks.state_dict().items()}
        for _ in range(_ROUNDS):
            for way in ways:
                _prepare(method, way, start, device)
                moved = {name: images.to(device) for name, images in batch.items()}
                _step(method, way, moved, found[way])
    return found


def choose(found: Mapping[Way, Trial]) -> Way:
    """Return the fastest way that is right; the first, unless another one is clearly faster."""
    usual, *others = found
    right = [way for way in others if _agrees(found[usual].terms, found[way].terms, _SAME[way.precision])]
    faster = [way for way in right if found[way].best <= (1 - _LEAST_GAIN[way.precision]) * found[usual].best]
    return min([usual, *faster], key=lambda way: found[way].best)


def explained(found: Mapping[Way, Trial], chosen: Way) -> str:
    """Return the choice in one sentence, with the times that it rests on."""
    times = ", ".join(f"{way} {trial.best:.3g} s" for way, trial in found.items())
    return f"training with {chosen}, chosen by timing steps: {times}"


def first_patches(parts: Parts) -> PatchPair:
    """Return patches of the first epoch, as many as a step is timed with."""
    batch = parts.sampler.batch(0, 0)[:: parts.settings.training.accumulate]
    keys = batch[:_CPU_PATCHES] if parts.device.type == "cpu" else batch
    return default_collate([parts.loader.dataset[key] for key in keys])  # type: ignore[no-any-return]


def _prepare(method: Method, way: Way, start: Mapping[str, Tensor], device: torch.device) -> None:
    """Begin again with the same weights and random numbers, in another way."""
    set_layout(method.networks, way.layout)
    method.networks.load_state_dict(start)
    for optimiser in method.updates.optimisers.values():
        optimiser.state.clear()
    set_precision(method.updates, way.precision, device)
    method.updates.reseed(0)
    torch.manual_seed(0)


def _step(method: Method, way: Way, batch: PatchPair, trial: Trial) -> None:
    layout = torch.channels_last if way.layout == "channels_last" else torch.contiguous_format
    images = {name: values.contiguous(memory_format=layout) for name, values in batch.items()}
    first = not trial.terms
    for number in range(_WARM_UP + _TIMED):
        _wait(method.updates.noise_rng.device)
        begun = time.perf_counter()
        terms = ranks.average_terms(method(None, images))
        _wait(method.updates.noise_rng.device)
        seconds = time.perf_counter() - begun
        if number >= _WARM_UP:
            trial.seconds.append(max(ranks.from_all(seconds)))
        if first:
            trial.terms += _numbers(terms)


def _numbers(terms: Losses) -> list[float]:
    return [float(term) for term in terms.values()]


def _agrees(usual: list[float], other: list[float], tolerance: float) -> bool:
    """Return whether terms are finite and alike; small ones may differ by a share of the largest."""
    least = 0.05 * max(abs(value) for value in usual)
    return all(
        math.isfinite(value) and abs(value - expected) <= tolerance * max(abs(expected), least)
        for value, expected in zip(other, usual, strict=True)
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
