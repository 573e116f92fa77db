"""Loads the model of `denoise` for the engine that its config names."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from ctcycle.errors import ConfigError
from ctcycle.inference.engines.onnx import OnnxGenerator, check_parity
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.runs.models import Model


def with_onnx(model: Model, folder: Path) -> Model:
    """Return the model with a network that ONNX Runtime runs.

    It is that of the bundle; the network of a run folder is exported first, which takes some seconds.

    Args:
        model: the model, as loaded.
        folder: the run or bundle folder that it was loaded from.

    Raises:
        BundleError: the exported network cannot be read, or differs from the weights.
        ConfigError: the device is not the CPU, a package is missing, or the network cannot be exported.
    """
    from ctcycle.bundle.formats import check_packages, export_network, side_multiple

    if model.device.type != "cpu":
        raise ConfigError(f"engine=onnx: runs on the CPU, not on {model.device.type}; set device=cpu or engine=torch")
    generator, threads = model.generator.cpu(), torch.get_num_threads()
    if not isinstance(generator, ResNetGenerator) or side_multiple(generator.spec) > 32:
        raise ConfigError(
            "engine=onnx: the network of this model cannot be exported for slices of all sizes; set engine=torch"
        )
    exported = folder / "models" / "model.onnx"
    if exported.is_file():
        network = OnnxGenerator(exported, threads)
    else:
        check_packages(("onnx",))
        with tempfile.TemporaryDirectory() as place:
            exported = Path(place) / "model.onnx"
            export_network(generator, exported, side_multiple(generator.spec))
            network = OnnxGenerator(exported, threads)
    check_parity(network, generator, exported.name)
    return replace(model, generator=network)
