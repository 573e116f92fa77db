"""Generators that recompute their activations in the backward pass, and generators that are compiled."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ctcycle.config.training import Training
from ctcycle.training.simulated_noise.noise_filter import NoiseFilter

_GENERATORS = ("low2full", "full2low")


def prepare_generators(networks: nn.ModuleDict, settings: Training) -> None:
    """Change how generators run, as the section ``training`` says; their weights and their names stay the same."""
    for name in _GENERATORS:
        if name in networks and not isinstance(networks[name], NoiseFilter):
            if settings.recompute:
                recompute_activations(networks[name])
            if settings.compile:
                networks[name].compile()


def recompute_activations(net: nn.Module) -> None:
    """Keep only the input of each call of ``net``, and compute its activations again in the backward pass.

    Gradients are the same, dropout included. A training step then holds the activations of one call at a time, and
    takes one more forward pass for each.
    """
    net.__class__ = _recomputing(type(net))


def _recomputing(kind: type[nn.Module]) -> type[nn.Module]:
    def forward(self: nn.Module, *inputs: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return kind.forward(self, *inputs)
        return checkpoint(lambda *again: kind.forward(self, *again), *inputs, use_reentrant=False)

    return type(kind.__name__, (kind,), {"forward": forward, "__doc__": kind.__doc__})
