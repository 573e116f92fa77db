"""Builds the components that a config names with ``_target_``.

MONAI takes four seconds to import: it is imported when one of its classes is named.
"""

import importlib
import inspect
import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import nn

from ctcycle.config.components import ALLOWED, Component, trusted
from ctcycle.errors import ConfigError
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec

_log = logging.getLogger(__name__)


def build_generator(spec: GeneratorSpec | Component, *, noise_channel: bool = False) -> nn.Module:
    """Build the network of a config's ``generator`` section, with weights drawn from torch's global RNG."""
    if isinstance(spec, Component):
        net: nn.Module = build_component(spec, "monai.networks.nets")
        return net
    return ResNetGenerator(spec, noise_channel=noise_channel)


def build_component(component: Component, home: str) -> Any:
    """Build the network or transform named by ``component``.

    Args:
        component: its name was checked against the allow-list when the config was read.
        home: dotted name of the module in which names without dots are looked up.

    Raises:
        ConfigError: the name does not exist; it is not a network or transform class (a function could do anything); it
            might run code, access files or use the network, and ``--trust`` was not given; or it rejects its
            arguments, in which case the message is its own.
    """
    from monai.transforms import Transform

    path, _, name = component.target.rpartition(".")
    try:
        maker = getattr(importlib.import_module(path or home), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"_target_ '{component.target}': not found; give a name from {home} or a full dotted path"
        ) from error
    if not (isinstance(maker, type) and issubclass(maker, nn.Module | Transform)):
        raise ConfigError(
            f"_target_ '{component.target}': neither a torch module nor a MONAI transform; give one of these classes"
        )
    _check_trust(component, maker)
    try:
        return maker(**component.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"_target_ '{component.target}': {error}; arguments given: {component.arguments}") from error


def _check_trust(component: Component, maker: type) -> None:
    if (risk := _risk(component, maker)) is None:
        return
    if not trusted():
        raise ConfigError(f"_target_ '{component.target}': {risk}; pass --trust to run it anyway")
    _warn(component.target, risk)


@cache  # warn once, however often it is built
def _warn(target: str, risk: str) -> None:
    _log.warning("_target_ '%s': %s; running it because of --trust", target, risk)


def _risk(component: Component, maker: type) -> str | None:
    """Describe what a component could do besides computing; None if no risk is known."""
    names = [f"{maker.__module__}.", *([component.target] if "." in component.target else [])]
    if not all(name.startswith(ALLOWED) for name in names):
        return "is code from outside the allowed packages"
    if f"{maker.__module__}.".startswith("monai.transforms.io."):
        return "reads or writes files, and calls functions named by its arguments"  # LoadImage(reader="os.system")
    defaults = {name: parameter.default for name, parameter in inspect.signature(maker).parameters.items()}
    external = [name for name, value in (defaults | component.arguments).items() if _is_external(name, value)]
    return f"might load files or use the network ({', '.join(external)})" if external else None


def _is_external(name: str, value: Any) -> bool:
    """Return whether an argument requests pretrained weights or may be a path or a URL."""
    if isinstance(value, Mapping):
        return any(_is_external(key, item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(_is_external(name, item) for item in value)
    return ("pretrained" in name and bool(value)) or (isinstance(value, str) and bool({"/", "\\"} & set(value)))
