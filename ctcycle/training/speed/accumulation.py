"""Steps on batches that are computed in parts, so that a batch need not fit into memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import ParametrizationList

from ctcycle.errors import ConfigError
from ctcycle.runs import ranks
from ctcycle.training.updates import Batch, Losses, Updates, detached

Part = Callable[[Batch], tuple[Tensor, Losses, Losses]]
"""Returns, for a part of a batch, the loss to minimise, its terms, and images (n, ...) that later steps need."""


class Updated(Protocol):
    """A training method, as far as its steps are concerned."""

    networks: nn.ModuleDict
    updates: Updates


def minimise_parts(method: Updated, part: Part, batch: Batch, optimiser: str) -> tuple[Losses, Losses]:
    """Take one step of ``optimiser`` on the mean loss of the parts of ``batch``, computed one after the other.

    It is the step on the whole batch, up to rounding. Spectral norms take their power iterations in the first part
    only, so that all parts meet the same weights.

    Args:
        method: the networks, and the number of parts, ``updates.parts``.
        part: computes the loss of a part. Random numbers must be drawn before, for the whole batch.
        batch: tensors (N, ...), all of which are divided.
        optimiser: its name.

    Returns:
        The detached mean of each term, and the detached images of all parts.
    """
    updates = method.updates
    if updates.parts == 1:
        loss, terms, images = part(batch)
        updates.minimise(loss, optimiser)
        return detached(terms), detached(images)
    updates.clear(optimiser)
    found: list[tuple[Losses, Losses]] = []
    for piece in pieces(batch, updates.parts):
        with _held_parametrizations(method.networks, hold=bool(found)):
            loss, terms, images = part(piece)
            updates.add_gradients(loss / updates.parts)
        found.append((detached(terms), detached(images)))
    updates.step(optimiser)
    means = {name: torch.stack([terms[name] for terms, _ in found]).mean() for name in found[0][0]}
    return means, {name: torch.cat([images[name] for _, images in found]) for name in found[0][1]}


@torch.no_grad()
def without_gradients(change: Callable[[Batch], Tensor], batch: Batch, parts: int) -> Tensor:
    """Return what ``change`` makes of each part of a batch, (N, ...), without gradients."""
    return torch.cat([change(piece) for piece in pieces(batch, parts)])


def pieces(batch: Batch, parts: int) -> Iterator[Batch]:
    """Yield the parts of a batch, all of the same length."""
    divided = {name: images.chunk(parts) for name, images in batch.items()}
    for number in range(parts):
        yield {name: chunks[number] for name, chunks in divided.items()}


def check_parts(networks: nn.Module, parts: int, sizes: Sequence[int]) -> None:
    """Check that batches can be computed in parts.

    Args:
        networks: the networks to train.
        parts: `training.accumulate`.
        sizes: sizes of the batches, over all ranks.

    Raises:
        ConfigError: a batch cannot be divided evenly, or a network computes statistics of its batch.
    """
    if parts == 1:
        return
    for size in sizes:
        if size % (parts * ranks.world()):
            several = f" times the {ranks.world()} ranks" if ranks.world() > 1 else ""
            raise ConfigError(
                f"training.accumulate={parts}: batches of {size} patches cannot be divided evenly; set "
                f"training.batch_size to a multiple of {parts}{several}"
            )
    if any(isinstance(module, _BatchNorm) for module in networks.modules()):
        raise ConfigError(
            f"norm=batch with training.accumulate={parts}: each part would be normalised by itself; use norm=instance, "
            "group or none, or training.accumulate=1"
        )


@contextmanager
def _held_parametrizations(networks: nn.Module, *, hold: bool) -> Iterator[None]:
    """Keep the singular vectors of spectral norms as they are in this context, if ``hold`` is set."""
    held = [module for module in networks.modules() if isinstance(module, ParametrizationList) and module.training]
    for module in held if hold else ():
        module.eval()
    try:
        yield
    finally:
        for module in held:
            module.train()
