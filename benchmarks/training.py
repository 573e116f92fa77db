"""A training step of CycleGAN: ctcycle in both formats and precisions, the textbook, and the floor."""

import json
from typing import Any

import torch
from torch import Tensor

from benchmarks.floor import convolutions, forward_and_backward
from benchmarks.measuring import Table, Work, in_turn
from benchmarks.textbook import TextbookCycleGAN
from ctcycle.config.schema import TrainCycleGAN
from ctcycle.training.method import Method, build_method
from ctcycle.training.speed.layout import LayoutName, set_layout
from ctcycle.training.speed.precision import computes, set_precision

REPORT = {
    "generator": {"norm": "batch", "residual": "none", "activation": "tanh_before_sum", "zero_last": False},
    "discriminator": {"norm": "batch", "spectral_norm": False, "view": "image", "gain": 1.0},
}
"""The layers of the paper and of the report; otherwise those of ``configs/cyclegan.yaml``."""
RECIPE = {
    "generator": {"norm": "none", "init": "kaiming"},
    "discriminator": {"norm": "none", "spectral_norm": True, "view": "highpass", "gain": 20.0, "init": "kaiming"},
}


CPU = torch.device("cpu")


def settings(kind: dict[str, Any], width: int, blocks: int) -> TrainCycleGAN:
    """Return a training config with the loss terms of the paper."""
    config: dict[str, Any] = {"task": "train", "method": "cyclegan", "out": "unused", "data": {"manifest": "unused"}}
    config |= {"loss": {"cycle": 10.0, "identity": 5.0}}
    config |= {name: {**part, "filters": width} for name, part in kind.items()}
    config["generator"] |= {"blocks": blocks}
    return TrainCycleGAN.model_validate_json(json.dumps(config))


def step(method: Method, batch: dict[str, Tensor], layout: LayoutName) -> Work:
    """Return one step of ``method`` in a format."""
    set_layout(method.networks, layout)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    moved = {name: images.contiguous(memory_format=memory) for name, images in batch.items()}
    return lambda: method(None, moved)


def in_bf16(config: TrainCycleGAN, batch: dict[str, Tensor]) -> dict[str, Work]:
    """Return one step in bf16 in each format; none where the processor has no units for it."""
    if not computes("bf16", CPU):
        return {}
    found: dict[str, Work] = {}
    for name, layout in (("first", "channels_first"), ("last", "channels_last")):
        method = build_method(config, CPU)
        set_precision(method.updates, "bf16", CPU)
        found[f"ctcycle in bf16, channels {name}"] = step(method, batch, layout)  # type: ignore[arg-type]
    return found


def floor(method: Method, image: Tensor) -> dict[str, Work]:
    """Return the convolutions of a step, in both formats: six calls of a generator and six of a discriminator."""
    calls = {name: convolutions(method.networks[name], image) for name in ("low2full", "disc_full")}
    found: dict[str, Work] = {}
    for name, layout in (("first", torch.contiguous_format), ("last", torch.channels_last)):
        parts = [forward_and_backward(each, layout, times=6) for each in calls.values()]
        found[f"convolutions alone, channels {name}"] = lambda parts=parts: [part() for part in parts]  # type: ignore[misc]
    return found


def run(*, tiny: bool, rounds: int) -> list[Table]:
    """Return a table for the networks of the paper and one for those of the recipe."""
    width, blocks, side, count = (4, 1, 32, 2) if tiny else (64, 9, 128, 1)
    batch = {name: 0.3 * torch.randn(count, 1, side, side) for name in ("low_dose", "full_dose")}
    tables = []
    for title, kind, norm in (("with batch norm", REPORT, "batch"), ("without norms", RECIPE, "none")):
        config = settings(kind, width, blocks)
        textbook = TextbookCycleGAN(width, blocks, norm)
        first, last = (build_method(config, CPU) for _ in range(2))
        ways: dict[str, Work] = {
            "textbook": lambda textbook=textbook: textbook.step(batch["low_dose"], batch["full_dose"]),  # type: ignore[misc]
            "ctcycle, channels first": step(first, batch, "channels_first"),
            "ctcycle, channels last": step(last, batch, "channels_last"),
            **in_bf16(config, batch),
            **floor(first, batch["low_dose"]),
        }
        where = f"batch of {count}, {side} px, {width} filters, {blocks} blocks"
        tables.append(Table(f"Training step {title}, {where}", in_turn(ways, rounds)))
    return tables
