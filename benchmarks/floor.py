"""The floor of networks on this machine: the time of their convolutions alone, in the faster format."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Call = tuple[nn.Module, Tensor]
_KINDS = (nn.Conv2d, nn.ConvTranspose2d)


def convolutions(net: nn.Module, image: Tensor) -> list[Call]:
    """Return every convolution of ``net`` with its input when ``net`` is applied to ``image``."""
    calls: list[Call] = []

    def note(layer: nn.Module, inputs: Any, _output: Any) -> None:
        calls.append((layer, inputs[0].detach()))

    hooks = [layer.register_forward_hook(note) for layer in net.modules() if isinstance(layer, _KINDS)]
    with torch.no_grad():
        net(image)
    for hook in hooks:
        hook.remove()
    return calls


def forward(calls: list[Call], layout: torch.memory_format) -> Callable[[], None]:
    """Return work that computes each convolution once."""
    ready = _in_layout(calls, layout)

    def work() -> None:
        with torch.inference_mode():
            for layer, image in ready:
                layer(image)

    return work


def forward_and_backward(calls: list[Call], layout: torch.memory_format, times: int = 1) -> Callable[[], None]:
    """Return work that computes each convolution and its gradients, ``times`` times."""
    ready = [(layer, image.requires_grad_()) for layer, image in _in_layout(calls, layout)]

    def work() -> None:
        for _ in range(times):
            for layer, image in ready:
                output = layer(image)
                output.backward(output.detach())

    return work


def _in_layout(calls: list[Call], layout: torch.memory_format) -> list[Call]:
    return [
        (_plain(layer).to(memory_format=layout), image.clone(memory_format=layout))  # type: ignore[call-overload]
        for layer, image in calls
    ]


def _plain(layer: Any) -> nn.Module:
    """Return a convolution of the same shape, without parametrizations such as spectral norm."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
    options = {name: getattr(layer, name) for name in names}
    if isinstance(layer, nn.ConvTranspose2d):
        return nn.ConvTranspose2d(**options, output_padding=layer.output_padding, bias=layer.bias is not None)
    return nn.Conv2d(**options, bias=layer.bias is not None)
