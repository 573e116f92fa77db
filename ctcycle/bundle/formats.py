"""Export the network of a bundle for other runtimes: ONNX and torch.export's ``.pt2``.

Both contain only the network; input and output are in the normalised range. Batch, rows and columns are dynamic, with
rows and columns multiples of `side_multiple`.
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
"""Packages in addition to torch that are needed to export and check a format."""

INPUT, OUTPUT = "image", "denoised"

_NOISY_LOGGER = "torch.onnx._internal.exporter._registration"


def check_packages(formats: Sequence[str]) -> None:
    """Check that the packages for ``formats`` are installed.

    Raises:
        ConfigError: a package is missing; the message gives the command that installs it.
    """
    for name in formats:
        absent = [package for package in NEEDED[name] if importlib.util.find_spec(package) is None]
        if absent:
            raise ConfigError(
                f"formats: {name} needs {', '.join(absent)} (not installed); run `pip install {' '.join(absent)}`, "
                f"or remove {name}"
            )


def side_multiple(spec: GeneratorSpec) -> int:
    """Return the number that rows and columns must be a multiple of: 32 px, or more for large dilations."""
    side = 32
    while side >> spec.downsamplings <= max(
        spec.dilations, default=1
    ):  # reflection padding must be smaller than the image
        side *= 2
    return side


def export_network(generator: nn.Module, path: Path, multiple: int) -> None:
    """Write a generator in the format given by the suffix of ``path``, with dynamic batch, rows and columns.

    Args:
        generator: maps (N, 1, H, W) to the same shape, on the CPU; set to evaluation mode.
        path: ``.onnx`` or ``.pt2``; an ONNX file includes its weights.
        multiple: H and W must be multiples of this.

    Raises:
        BundleError: torch cannot export the network to this format.
    """
    example = torch.zeros(
        2, 1, 2 * multiple, 3 * multiple
    )  # with a batch of one, torch would make the batch size constant
    free = {0: Dim("batch"), 2: multiple * Dim("rows"), 3: multiple * Dim("columns")}
    generator = generator.eval().requires_grad_(requires_grad=False)
    try:
        with _quiet():
            program = torch.export.export(generator, (example,), dynamic_shapes=(free,))
            _remove_source_paths(program)
            _WRITERS[path.suffix](program, path)
    except Exception as error:  # the exporters can raise almost anything
        raise BundleError(
            f"{path.name}: torch cannot export this network ({type(error).__name__}: {_first_line(error)}); "
            "remove this format from `formats`"
        ) from error


def _remove_source_paths(program: ExportedProgram) -> None:
    """Remove the source file paths of each operation, which would otherwise be stored in the exported file."""
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
    """Suppress the exporters' warnings about their own deprecated calls and the missing torchvision."""
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
