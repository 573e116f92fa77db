"""What a training costs, computed from its floating-point operations; nothing here is measured.

Operations are those of the convolutions, two for each multiplication with addition, a backward pass counted as two
forward passes. The share of its peak that a GPU reaches on such networks is an assumption, shown beside the result.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.floor import convolutions
from benchmarks.training import RECIPE, settings
from ctcycle.training.method import build_method

PASSES = {"low2full": 6 * 3, "disc_full": 2 * 2 + 4 * 3}
"""Forward passes, or as much, of a step for both networks of a kind: the generators' loss needs only the gradients of
its images from the discriminators."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its maker describes it.

    Attributes:
        name: its name.
        tflops_fp32: peak in fp32, in 10¹² operations a second.
        tflops_half: dense peak of its matrix units in bf16 or fp16.
    """

    name: str
    tflops_fp32: float
    tflops_half: float


GPUS = (
    Gpu("T4", 8.1, 65.0),
    Gpu("RTX 4090", 82.6, 165.0),
    Gpu("A100", 19.5, 312.0),
    Gpu("L40S", 91.6, 362.0),
    Gpu("H100 SXM", 67.0, 989.0),
)
SHARE_FP32, SHARE_HALF = 0.5, 0.25
"""Assumed shares of the peak."""


def operations(kind: dict[str, object], width: int = 64, blocks: int = 9, side: int = 128) -> float:
    """Return the operations of a training step for one patch of each dose."""
    method = build_method(settings(kind, width, blocks), torch.device("cpu"))
    image = torch.zeros(1, 1, side, side)
    return sum(passes * forward_operations(method.networks[name], image) for name, passes in PASSES.items())


def forward_operations(net: nn.Module, image: Tensor) -> float:
    """Return the operations of the convolutions of ``net`` when it is applied to ``image``."""
    total = 0.0
    for layer, inputs in convolutions(net, image):
        places = inputs if isinstance(layer, nn.ConvTranspose2d) else layer(inputs)
        total += 2.0 * layer.weight.numel() * places[0, 0].numel()  # type: ignore[operator,union-attr]
    return total


def text(iterations: int = 160 * 119, batch: int = 32) -> str:
    """Return the table in Markdown."""
    one = operations(RECIPE)
    total = one * batch * iterations
    lines = [
        f"CycleGAN, 64 filters, 9 blocks, patches of 128 px: {one / 1e9:.0f} · 10⁹ operations a pair and step.",
        f"{iterations:,} iterations of {batch} pairs are {total / 1e18:.2f} · 10¹⁸ operations.\n",
        "| GPU | fp32 at 50 % of the peak | bf16 or fp16 at 25 % of the peak |",
        "|---|---|---|",
    ]
    for gpu in GPUS:
        slow, fast = total / (SHARE_FP32 * gpu.tflops_fp32 * 1e12), total / (SHARE_HALF * gpu.tflops_half * 1e12)
        lines.append(f"| {gpu.name} | {slow / 3600:.1f} h | {fast / 3600:.1f} h |")
    return "\n".join(lines) + "\n"
