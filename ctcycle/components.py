"""Building the parts that a config names with ``_target_``."""

import importlib
import inspect
import logging
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

import monai.networks.nets
from monai.transforms import Transform
from torch import nn

from ctcycle.config.components import ALLOWED, Component, trusted
from ctcycle.errors import ConfigError
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec

_log = logging.getLogger(__name__)


def build_generator(spec: GeneratorSpec | Component, *, noise_channel: bool = False) -> nn.Module:
    """The network of a config's ``generator`` section, weights drawn from torch's global generator."""
    if isinstance(spec, Component):
        net: nn.Module = build_component(spec, monai.networks.nets)
        return net
    return ResNetGenerator(spec, noise_channel=noise_channel)


def build_component(component: Component, home: ModuleType) -> Any:
    """The network or transform that ``component`` names, made with its arguments.

    Args:
        component: its name was checked against the allow-list when the config was read.
        home: where a name without dots is looked up.

    Raises:
        ConfigError: there is no such thing; it is no class of networks or transforms (a function could do anything);
            nobody said that it is trusted, and it might run code, read or write files, or use the network; or it
            refuses its arguments: then the message is that of the part itself.
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
    _check_trust(component, maker)
    try:
        return maker(**component.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"_target_ '{component.target}': {error}; arguments given: {component.arguments}") from error


def _check_trust(component: Component, maker: type) -> None:
    if (risk := _risk(component, maker)) is None:
        return
    if not trusted():
        raise ConfigError(f"_target_ '{component.target}': {risk}; with --trust it is run all the same")
    _warn(component.target, risk)


@cache  # one line, however often it is built
def _warn(target: str, risk: str) -> None:
    _log.warning("_target_ '%s': %s; it is run, since --trust was given", target, risk)


def _risk(component: Component, maker: type) -> str | None:
    """What a part could do besides computing; None if nothing is known."""
    names = [f"{maker.__module__}.", *([component.target] if "." in component.target else [])]
    if not all(name.startswith(ALLOWED) for name in names):
        return "is code from outside the allowed packages"
    if f"{maker.__module__}.".startswith("monai.transforms.io."):
        return "reads or writes files, and calls what its arguments name"  # LoadImage(reader="os.system")
    defaults = {name: parameter.default for name, parameter in inspect.signature(maker).parameters.items()}
    reaching = [name for name, value in (defaults | component.arguments).items() if _reaches_out(name, value)]
    return f"might load files or use the network ({', '.join(reaching)})" if reaching else None


def _reaches_out(name: str, value: Any) -> bool:
    """Whether an argument asks for weights from elsewhere, or holds what may be a path or an address."""
    if isinstance(value, Mapping):
        return any(_reaches_out(key, item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(_reaches_out(name, item) for item in value)
    return ("pretrained" in name and bool(value)) or (isinstance(value, str) and bool({"/", "\\"} & set(value)))
