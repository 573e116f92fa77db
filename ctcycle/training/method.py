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
    def make_patches(settings: Any, slices: SliceData, transform: PatchTransform, progress: ProgressBar) -> Patches:
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
        settings: CycleGANSettings | NoiseSwapSettings,
        slices: SliceData,
        transform: PatchTransform,
        _progress: ProgressBar,
    ) -> UnpairedPatches:
        """Return patches of both domains, combined as ``data.partners`` says."""
        low, full = slices.unpaired(settings.data.protocol, settings.seed)
        fixed = settings.data.partners == "fixed"
        return UnpairedPatches(low, full, transform, settings.seed, fixed)


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
    networks.to(device).to(memory_format=memory_format(settings.generator))  # type: ignore[call-overload]
    return kind.create(settings, networks, _updates(kind, settings, networks, device))


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the initial learning rate of each optimiser."""
    judges = optimizer.lr if optimizer.lr_discriminator is None else optimizer.lr_discriminator
    return {"gen": optimizer.lr, "disc": judges}


def memory_format(spec: GeneratorSpec | Component) -> torch.memory_format:
    """Return channels last for plain convolutions, a third faster on CPUs; group norms are slower with it."""
    plain = isinstance(spec, GeneratorSpec) and spec.norm in {"none", "batch"}
    return torch.channels_last if plain else torch.contiguous_format


def _load_initial(model: Path, generator: nn.Module, window: HUWindow) -> None:
    found = load_denoiser(model, device="cpu")
    if found.window != window:
        raise ConfigError(f"initial: {model} was trained with {found.window}; set data.hu_window to match")
    try:
        generator.load_state_dict(found.generator.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"initial: {model} has a different generator; copy `generator` from its config") from error


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
