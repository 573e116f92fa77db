"""What each training method is made of: networks, optimisers and the step that joins them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Adam

from ctcycle.components import build_generator
from ctcycle.config.schema import AnyTrain, TrainCycleGAN, TrainNoiseSwap, TrainSupervised
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.data.slices import StoredSlices
from ctcycle.errors import ConfigError, SeriesError
from ctcycle.metrics.noise import highpass, tissue_windows
from ctcycle.networks.discriminator import Discriminator
from ctcycle.networks.specs import DiscriminatorSpec, GeneratorSpec
from ctcycle.runs.models import load_denoiser
from ctcycle.training.image_pool import ImagePool
from ctcycle.training.noise_swap import NoiseSwap
from ctcycle.training.steps import Batch, CycleGANStep, Losses, NoiseSwapStep, SupervisedStep, Updates

_GAIN_SLICES = 32


@dataclass
class Method:
    """A training method, ready for an engine.

    Attributes:
        networks: by name, see `ctcycle.training.steps`; the step updates them in place.
        updates: their optimisers and what the schedule sets.
        step: the update function.
        pools: image pools by name.
    """

    networks: nn.ModuleDict
    updates: Updates
    step: Callable[[Engine | None, Batch], Losses]
    pools: Mapping[str, ImagePool] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changes."""
        return {
            "networks": self.networks.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.updates.optimisers.items()},
            "pools": {name: pool.state_dict() for name, pool in self.pools.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state_dict` gave."""
        self.networks.load_state_dict(state["networks"])
        for name, optimiser in self.updates.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        for name, pool in self.pools.items():
            pool.load_state_dict(state["pools"][name])


def build_method(config: AnyTrain, device: torch.device, gain: float = 1.0) -> Method:
    """The method of a training config, on ``device``; weights are a pure function of the config's seed.

    Args:
        config: one of the training configs.
        device: where the networks live.
        gain: of the discriminators' high-pass view where the config says "auto"; see `measure_gain`.

    Raises:
        BundleError: ``initial`` cannot be loaded.
        ConfigError: ``initial`` is another network, or was trained with another HU window.
    """
    with _seeded(config.seed):
        networks = nn.ModuleDict(_networks(config, gain))
    if config.initial is not None:
        _start_from(config.initial, networks["low2full"], config.data.hu_window)
    networks.to(device).to(memory_format=memory_format(config))  # type: ignore[call-overload]
    updates = _updates(config, networks, device)
    if isinstance(config, TrainCycleGAN):
        pools = {name: ImagePool(config.image_pool) for name in ("pool_full", "pool_low")}
        return Method(networks, updates, CycleGANStep(networks, updates, config.loss, **pools), pools)
    if isinstance(config, TrainNoiseSwap):
        pools = {"pool_full": ImagePool(config.image_pool)}
        return Method(networks, updates, NoiseSwapStep(networks, updates, config.loss, **pools), pools)
    below = config.loss.quadratic_below_hu / config.data.hu_window.hu_per_unit
    return Method(networks, updates, SupervisedStep(networks, updates, below))


def _start_from(model: Path, generator: nn.Module, window: HUWindow) -> None:
    found = load_denoiser(model, device="cpu")
    if found.window != window:
        raise ConfigError(f"initial: {model} was trained with {found.window}; set data.hu_window to the same")
    try:
        generator.load_state_dict(found.generator.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"initial: {model} holds another generator; set generator as its config has it") from error


def measure_gain(slices: StoredSlices, spec: DiscriminatorSpec, hu_per_unit: float) -> float:
    """The gain that gives the noise of low-dose slices a standard deviation of 1 in a discriminator's high-pass view.

    Measured in the flat soft tissue of up to 32 slices spread over all, the median of their deviations (from the median
    absolute deviation, which borders between organs hardly move).

    Args:
        slices: low-dose slices, HU.
        spec: of the view.
        hu_per_unit: HU that 1 stands for in the network's range.

    Raises:
        SeriesError: none of the slices shows enough soft tissue.
    """
    found = []
    for number in np.linspace(0, len(slices) - 1, min(_GAIN_SLICES, len(slices))).astype(int):
        image = slices[number].astype(np.float32)
        tissue = tissue_windows(image)
        if tissue.any():
            noise = highpass(image, spec.sigma_px)[tissue]
            found.append(1.4826 * float(np.median(np.abs(noise))))
    if not found or not np.median(found) > 0:
        raise SeriesError(
            "low-dose slices: too little soft tissue to measure the noise; set discriminator.gain to a number"
        )
    return hu_per_unit / float(np.median(found))


def _networks(config: AnyTrain, gain: float) -> dict[str, nn.Module]:
    nets: dict[str, nn.Module] = {"low2full": build_generator(config.generator)}
    if isinstance(config, TrainSupervised):
        return nets
    nets["disc_full"] = _discriminator(config.discriminator, gain)
    if isinstance(config, TrainCycleGAN):
        nets["full2low"] = build_generator(config.generator, noise_channel=config.noise_channel)
        nets["disc_low"] = _discriminator(config.discriminator, gain)
    if config.loss.noise_swap:
        nets["swap"] = NoiseSwap(config.discriminator.sigma_px)
    return nets


def _discriminator(spec: DiscriminatorSpec, gain: float) -> Discriminator:
    return Discriminator(replace(spec, gain=gain) if spec.gain == "auto" else spec)


def _updates(config: AnyTrain, networks: nn.ModuleDict, device: torch.device) -> Updates:
    optim = config.optimizer
    groups = {"gen": ("low2full", "full2low"), "disc": ("disc_full", "disc_low")}
    rates = learning_rates(config)
    optimisers = {}
    for name, members in groups.items():
        parameters = [p for member in members if member in networks for p in networks[member].parameters()]
        if parameters:
            optimisers[name] = Adam(parameters, lr=rates[name], betas=optim.betas)
    return Updates(
        optimisers,
        clip_norm=optim.clip_norm,
        autocast=torch.bfloat16 if config.training.precision == "bf16" else None,
        noise_rng=torch.Generator(device),
    )


def learning_rates(config: AnyTrain) -> dict[str, float]:
    """The learning rate at the start, by optimiser."""
    optim = config.optimizer
    return {"gen": optim.lr, "disc": optim.lr if optim.lr_discriminator is None else optim.lr_discriminator}


def memory_format(config: AnyTrain) -> torch.memory_format:
    """Channels last where convolutions rule: a third faster on CPUs; group norms lose by it."""
    spec = config.generator
    plain = isinstance(spec, GeneratorSpec) and spec.norm in {"none", "batch"}
    return torch.channels_last if plain else torch.contiguous_format


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
