"""What a training method is: networks, their updates, and the update function that joins them.

A method is one class in a module of `ctcycle.training.methods`, with its settings in `ctcycle.config.methods`.
Names of networks: ``low2full`` is the denoiser, ``full2low`` its way back; ``disc_full`` and ``disc_low`` judge the
domain they are named after.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Adam

from ctcycle.config.components import Component
from ctcycle.config.methods import AnySettings, CycleGANSettings, NoiseSwapSettings
from ctcycle.config.training import Optimizer
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.data.slices import SliceData
from ctcycle.errors import ConfigError
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.models import load_denoiser
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.sampling import PairedPatches, UnpairedPatches
from ctcycle.training.transforms import PatchTransform
from ctcycle.training.updates import Batch, Losses, Updates

Patches = UnpairedPatches | PairedPatches
Shown = Callable[[Iterable[int]], Iterable[int]]
"""Passes numbers on, one by one, and shows how far it is."""


@dataclass
class Method(ABC):
    """A training method; calling it is the update function of a trainer engine.

    Attributes:
        networks: by name; updated in place.
        updates: their optimisers and what the schedule sets.
        L1_TERMS: beginnings of the names of loss terms that are mean absolute errors, and so can be told in HU.
        LOSS_GROUPS: titles of panels of the loss figure, and the words in the names of the losses that belong there.
        OPTIMISED: optimiser to the networks whose parameters it holds.
    """

    networks: nn.ModuleDict
    updates: Updates

    L1_TERMS: ClassVar[tuple[str, ...]] = ()
    LOSS_GROUPS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    OPTIMISED: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "gen": ("low2full", "full2low"),
        "disc": ("disc_full", "disc_low"),
    }

    @staticmethod
    @abstractmethod
    def make_networks(settings: Any, gain: float) -> dict[str, nn.Module]:
        """Return the networks by name; weights are drawn from torch's global generator in their order."""

    @classmethod
    @abstractmethod
    def create(cls, settings: Any, networks: nn.ModuleDict, updates: Updates) -> Self:
        """Return the method on networks that `make_networks` gave."""

    @staticmethod
    @abstractmethod
    def make_patches(settings: Any, slices: SliceData, transform: PatchTransform, shown: Shown) -> Patches:
        """Return what the method trains on."""

    @abstractmethod
    def __call__(self, engine: Engine | None, batch: Batch) -> Losses:
        """Update the networks on one batch, and return the loss terms, detached.

        Args:
            engine: not used; None when called by hand.
            batch: see `ctcycle.training.updates.Batch`.
        """

    @property
    def pools(self) -> Mapping[str, ImagePool]:
        """Histories of generated images, by name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes."""
        return {
            "networks": self.networks.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.updates.optimisers.items()},
            "pools": {name: pool.state_dict() for name, pool in self.pools.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self.networks.load_state_dict(state["networks"])
        for name, optimiser in self.updates.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        for name, pool in self.pools.items():
            pool.load_state_dict(state["pools"][name])


class UnpairedMethod(Method):
    """A method that draws its two domains independently."""

    @staticmethod
    def make_patches(
        settings: CycleGANSettings | NoiseSwapSettings, slices: SliceData, transform: PatchTransform, _shown: Shown
    ) -> UnpairedPatches:
        """Return patches of both domains, whose partners change with every epoch."""
        low, full = slices.unpaired(settings.data.protocol, settings.seed)
        return UnpairedPatches(low, full, transform, settings.seed)


def method_class(name: str) -> type[Method]:
    """Return the class of a method by its name in configs."""
    found: type[Method] = import_module(f"ctcycle.training.methods.{name}").METHOD
    return found


def build_method(settings: AnySettings, device: torch.device, gain: float = 1.0) -> Method:
    """Return the method of a training, on ``device``; weights are a pure function of the seed.

    Args:
        settings: of one of the methods.
        device: where the networks live.
        gain: of the discriminators' high-pass view where the settings say "auto"; see
            `ctcycle.training.adversarial.gain.measure_gain`.

    Raises:
        BundleError: ``initial`` cannot be loaded.
        ConfigError: ``initial`` is another network, or was trained with another HU window.
    """
    kind = method_class(settings.method)
    with _seeded(settings.seed):
        networks = nn.ModuleDict(kind.make_networks(settings, gain))
    if settings.initial is not None:
        _start_from(settings.initial, networks["low2full"], settings.data.hu_window)
    networks.to(device).to(memory_format=memory_format(settings.generator))  # type: ignore[call-overload]
    return kind.create(settings, networks, _updates(kind, settings, networks, device))


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the learning rate at the start, by optimiser."""
    judges = optimizer.lr if optimizer.lr_discriminator is None else optimizer.lr_discriminator
    return {"gen": optimizer.lr, "disc": judges}


def memory_format(spec: GeneratorSpec | Component) -> torch.memory_format:
    """Return channels last where convolutions rule: a third faster on CPUs; group norms lose by it."""
    plain = isinstance(spec, GeneratorSpec) and spec.norm in {"none", "batch"}
    return torch.channels_last if plain else torch.contiguous_format


def _start_from(model: Path, generator: nn.Module, window: HUWindow) -> None:
    found = load_denoiser(model, device="cpu")
    if found.window != window:
        raise ConfigError(f"initial: {model} was trained with {found.window}; set data.hu_window to the same")
    try:
        generator.load_state_dict(found.generator.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"initial: {model} holds another generator; set generator as its config has it") from error


def _updates(kind: type[Method], settings: AnySettings, networks: nn.ModuleDict, device: torch.device) -> Updates:
    rates = learning_rates(settings.optimizer)
    optimisers = {}
    for name, members in kind.OPTIMISED.items():
        parameters = [p for member in members if member in networks for p in networks[member].parameters()]
        if parameters:
            optimisers[name] = Adam(parameters, lr=rates[name], betas=settings.optimizer.betas)
    return Updates(
        optimisers,
        clip_norm=settings.optimizer.clip_norm,
        autocast=torch.bfloat16 if settings.training.precision == "bf16" else None,
        noise_rng=torch.Generator(device),
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
