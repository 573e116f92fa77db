"""The memory format of networks and batches: chosen when a run starts, saved in checkpoints, and then kept."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from ctcycle.config.training import Training
from ctcycle.networks.layers import fast_layout

LayoutName = Literal["channels_first", "channels_last"]
_FORMATS: dict[LayoutName, torch.memory_format] = {
    "channels_first": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


class Layout:
    """The memory format of a training run.

    Args:
        settings: the section ``training``.
        networks: all networks of the method; their weights are stored in the format.
        generator: the network that decides if nothing is measured, see `ctcycle.networks.layers.fast_layout`.

    Attributes:
        name: "channels_first" or "channels_last".
    """

    def __init__(self, settings: Training, networks: nn.Module, generator: nn.Module) -> None:
        self.settings, self.networks = settings, networks
        usual: LayoutName = "channels_last" if fast_layout(generator) == torch.channels_last else "channels_first"
        self.set(usual if settings.layout == "auto" else settings.layout)

    @property
    def format(self) -> torch.memory_format:
        """The format, as torch names it."""
        return _FORMATS[self.name]

    def set(self, name: LayoutName) -> None:
        """Store weights in the format ``name`` from now on."""
        self.name: LayoutName = name
        set_layout(self.networks, name)

    def candidates(self) -> tuple[LayoutName, ...]:
        """Return the formats to choose from; the first is that which is in use."""
        other: LayoutName = "channels_first" if self.name == "channels_last" else "channels_last"
        return (self.name, other) if self.settings.layout == "auto" else (self.name,)

    def resume(self, state: Mapping[str, LayoutName]) -> None:
        """Keep the format of a checkpoint; older ones have none and were trained in the usual one."""
        self.set(state.get("name", self.name))

    def state_dict(self) -> dict[str, LayoutName]:
        """Return the format in use."""
        return {"name": self.name}

    def load_state_dict(self, _state: Mapping[str, LayoutName]) -> None:
        """Do nothing: `resume` sets the format before anything is restored."""


def set_layout(networks: nn.Module, name: LayoutName) -> None:
    """Store the weights of networks in the format ``name``."""
    networks.to(memory_format=_FORMATS[name])  # type: ignore[call-overload]


def words(name: LayoutName) -> str:
    """Return the name of a format as text."""
    return name.replace("_", " ")
