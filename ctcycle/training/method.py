"""Base classes of training methods: networks, their optimisers, and one update function.

A method is one class in a module of `ctcycle.training.methods`, with its settings in `ctcycle.config.methods`.
Names of networks: ``low2full`` is the denoiser, ``full2low`` the opposite generator; ``disc_full`` and ``disc_low``
judge the domain they are named after.
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

from ctcycle.config.methods import (
    AnySettings,
    CalibratedPairsSettings,
    CycleGANSettings,
    NoiseSwapSettings,
    PhysicsCycleGANSettings,
)
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.data.slices import SliceData
from ctcycle.errors import ConfigError
from ctcycle.networks.layers import fast_layout
from ctcycle.runs.models import load_denoiser
from ctcycle.simulation.processes import available_cores
from ctcycle.training.adversarial.image_pool import ImagePool
from ctcycle.training.patches.lesions import LesionDraw
from ctcycle.training.patches.sampling import PairedPatches, UnpairedPatches
from ctcycle.training.patches.transforms import GrowingTransform, PatchTransform
from ctcycle.training.simulated_noise.draws import simulate_noise
from ctcycle.training.updates import Batch, Losses, Updates

Patches = UnpairedPatches | PairedPatches
Transform = PatchTransform | GrowingTransform
ProgressBar = Callable[[Iterable[int]], Iterable[int]]
"""Wraps an iterable and shows progress while it is consumed, like `tqdm`."""


@dataclass
class Method(ABC):
    """A training method; calling it is the update function of a trainer engine.

    Attributes:
        networks: the networks by name; updated in place.
        updates: optimisers, and the values set by the schedule.
        L1_TERMS: prefixes of the names of loss terms that are mean absolute errors, and can be given in HU.
        LOSS_GROUPS: panel titles of the loss figure, with the substrings of the loss names shown in each panel.
        OPTIMISED: names of the networks that each optimiser updates.
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
        """Return the networks by name, initialised in this order from torch's global generator."""

    @classmethod
    @abstractmethod
    def create(cls, settings: Any, networks: nn.ModuleDict, updates: Updates) -> Self:
        """Return the method for networks made by `make_networks`."""

    @staticmethod
    @abstractmethod
    def make_patches(settings: Any, slices: SliceData, transform: Transform, progress: ProgressBar) -> Patches:
        """Return the data set of training patches."""

    @abstractmethod
    def __call__(self, engine: Engine | None, batch: Batch) -> Losses:
        """Update the networks on one batch and return the detached loss terms.

        Args:
            engine: not used; may be None when called directly.
            batch: see `ctcycle.training.updates.Batch`.
        """

    @property
    def pools(self) -> Mapping[str, ImagePool]:
        """The image pools, by name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the networks, optimisers and image pools."""
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
    """A method that samples its two domains independently."""

    @staticmethod
    def make_patches(
        settings: CycleGANSettings | NoiseSwapSettings | CalibratedPairsSettings | PhysicsCycleGANSettings,
        slices: SliceData,
        transform: Transform,
        progress: ProgressBar,
    ) -> UnpairedPatches:
        """Return patches of both domains, combined as ``data.partners`` says, with simulated noise if it is used."""
        low, full = slices.unpaired(settings.data.protocol, settings.seed)
        fixed, physics = settings.data.partners == "fixed", getattr(settings, "simulated_noise", None)
        workers = available_cores() if settings.data.workers is None else settings.data.workers
        noise = simulate_noise(full, physics, settings.seed, workers, progress) if physics else None
        lesions = getattr(settings.data, "lesions", None)
        return UnpairedPatches(
            *(low, full, transform, settings.seed, fixed, noise),
            lesions=LesionDraw(lesions) if lesions else None,
            pixel_mm=[full.series[ref.series].pixel_mm for ref in full.refs],
        )


def method_class(name: str) -> type[Method]:
    """Return the class of a training method, given its name in configs."""
    found: type[Method] = import_module(f"ctcycle.training.methods.{name}").METHOD
    return found


def build_method(settings: AnySettings, device: torch.device, gain: float = 1.0) -> Method:
    """Return the training method on ``device``; initial weights depend only on the seed.

    Args:
        settings: of one of the methods.
        device: device of the networks.
        gain: gain of the discriminators' high-pass view if the settings say "auto"; see
            `ctcycle.training.adversarial.gain.measure_gain`.

    Raises:
        BundleError: ``initial`` cannot be loaded.
        ConfigError: ``initial`` is a different network, or was trained with a different HU window.
    """
    kind = method_class(settings.method)
    with _seeded(settings.seed):
        networks = nn.ModuleDict(kind.make_networks(settings, gain))
    if settings.initial is not None:
        _load_initial(settings.initial, networks["low2full"], settings.data.hu_window)
    layout = fast_layout(networks["low2full"])
    networks.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    return kind.create(settings, networks, _updates(kind, settings, networks, device))


def learning_rates(settings: AnySettings) -> dict[str, float]:
    """Return the initial learning rate of each optimiser."""
    optimizer, noise = settings.optimizer, getattr(settings, "simulated_noise", None)
    judges = optimizer.lr if optimizer.lr_discriminator is None else optimizer.lr_discriminator
    return {"gen": optimizer.lr, "disc": judges, "noise": getattr(noise, "lr", optimizer.lr)}


def _load_initial(model: Path, generator: nn.Module, window: HUWindow) -> None:
    found = load_denoiser(model, device="cpu")
    if found.window != window:
        raise ConfigError(f"initial: {model} was trained with {found.window}; set data.hu_window to match")
    try:
        generator.load_state_dict(found.generator.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"initial: {model} has a different generator; copy `generator` from its config") from error


def _updates(kind: type[Method], settings: AnySettings, networks: nn.ModuleDict, device: torch.device) -> Updates:
    rates = learning_rates(settings)
    optimisers = {}
    for name, members in kind.OPTIMISED.items():
        parameters = [p for member in members if member in networks for p in networks[member].parameters()]
        if parameters:
            optimisers[name] = Adam(parameters, lr=rates[name], betas=settings.optimizer.betas)
    return Updates(
        optimisers,
        clip_norm=settings.optimizer.clip_norm,
        noise_rng=torch.Generator(device),
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
