"""Building the parts that a config names with ``_target_``."""

import importlib
from types import ModuleType
from typing import Any

import monai.networks.nets
from monai.transforms import Transform
from torch import nn

from ctcycle.config.components import Component
from ctcycle.errors import ConfigError
from ctcycle.network_specs import GeneratorSpec
from ctcycle.networks import ResNetGenerator


def build_generator(spec: GeneratorSpec | Component, *, noise_channel: bool = False) -> nn.Module:
    """The network of a config's ``generator`` section, weights drawn from torch's global generator."""
    if isinstance(spec, Component):
        net: nn.Module = build_component(spec, monai.networks.nets)
        return net
    return ResNetGenerator(spec, noise_channel=noise_channel)


def build_component(component: Component, home: ModuleType) -> Any:
    """The network or transform that ``component`` names, made with its arguments.

    Args:
        component: checked against the allow-list when the config was read.
        home: where a name without dots is looked up.

    Raises:
        ConfigError: there is no such thing, it is no class of networks or transforms (a function could do anything), or
            it refuses its arguments; the message is that of the part itself.
    """
    path, _, name = component.target.rpartition(".")
    try:
        maker = getattr(importlib.import_module(path) if path else home, name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"_target_ '{component.target}': not found; {home.__name__} or a full path is looked in"
        ) from error
    if not (isinstance(maker, type) and issubclass(maker, nn.Module | Transform)):
        raise ConfigError(f"_target_ '{component.target}': neither a torch module nor a MONAI transform; name a class")
    try:
        return maker(**component.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"_target_ '{component.target}': {error}; arguments given: {component.arguments}") from error
