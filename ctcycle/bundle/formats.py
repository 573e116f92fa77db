"""The network of a bundle in the formats that other runtimes take: ONNX and torch.export's ``.pt2``.

Both hold the network alone, from the normalised range to the normalised range; batch, rows and columns are free, rows
and columns being multiples of `side_multiple`.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from ctcycle.errors import BundleError, ConfigError
from ctcycle.networks.specs import GeneratorSpec

NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "pt2": ()}
"""Packages beside torch that a format is made and checked with."""

INPUT, OUTPUT = "image", "denoised"

_NOISY_LOGGER = "torch.onnx._internal.exporter._registration"


def check_packages(formats: Sequence[str]) -> None:
    """Raises ConfigError, with the command that helps, where a package for one of ``formats`` is not installed."""
    for name in formats:
        absent = [package for package in NEEDED[name] if importlib.util.find_spec(package) is None]
        if absent:
            raise ConfigError(
                f"formats: {name} needs {', '.join(absent)}, not installed here; run `pip install {' '.join(absent)}`, "
                f"or leave {name} out"
            )


def side_multiple(spec: GeneratorSpec) -> int:
    """What rows and columns must be a multiple of: 32 px, or more where dilations reach farther."""
    side = 32
    while side >> spec.downsamplings <= max(spec.dilations, default=1):  # reflection needs more than it reflects
        side *= 2
    return side


def export_network(generator: nn.Module, path: Path, multiple: int) -> None:
    """Writes a generator as the format that the suffix of ``path`` names, with free batch, rows and columns.

    Args:
        generator: (N, 1, H, W) to the same, on the CPU; set to evaluation mode.
        path: ``.onnx`` or ``.pt2``; ONNX holds its weights in the file itself.
        multiple: of which H and W are multiples.

    Raises:
        BundleError: torch cannot express the network in this format.
    """
    example = torch.zeros(2, 1, 2 * multiple, 3 * multiple)  # batches of one would make the batch a constant
    free = {0: Dim("batch"), 2: multiple * Dim("rows"), 3: multiple * Dim("columns")}
    generator = generator.eval().requires_grad_(requires_grad=False)
    try:
        with _quiet():
            program = torch.export.export(generator, (example,), dynamic_shapes=(free,))
            _forget_places(program)
            _WRITERS[path.suffix](program, path)
    except Exception as error:  # the exporters raise nearly anything
        raise BundleError(
            f"{path.name}: torch cannot export this network so ({type(error).__name__}: {_first_line(error)}); "
            "leave the format out"
        ) from error


def _forget_places(program: ExportedProgram) -> None:
    """Takes out where in whose folders each operation's code lies, which the formats would keep."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            node.meta.pop("stack_trace", None)


def _write_pt2(program: ExportedProgram, path: Path) -> None:
    torch.export.save(program, path)


def _write_onnx(program: ExportedProgram, path: Path) -> None:
    axes = ({0: "batch", 2: "rows", 3: "columns"},)
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_shapes": axes}
    torch.onnx.export(program, (), path, external_data=False, dynamo=True, verbose=False, **names)


_WRITERS = {".pt2": _write_pt2, ".onnx": _write_onnx}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the exporters say of themselves: deprecated calls of their own, and that torchvision is absent."""
    logger = logging.getLogger(_NOISY_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
