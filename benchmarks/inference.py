"""Denoising a slice: ctcycle, plain torch without gradients, ONNX Runtime, and the convolutions alone."""

import tempfile
from pathlib import Path

import torch

from benchmarks.floor import convolutions, forward
from benchmarks.measuring import Table, Work, in_turn
from ctcycle.bundle.formats import export_network
from ctcycle.bundle.runtime.speed import phantom
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.routine_dose import measure_noise
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec

SPECS = {
    "of the shipped bundle": GeneratorSpec(
        filters=24, blocks=6, downsamplings=1, dilations=(1, 2, 1, 2, 1, 1), kernel=3, init="kaiming"
    ),
    "of configs/cyclegan.yaml": GeneratorSpec(init="kaiming"),
}


def run(*, tiny: bool, rounds: int) -> list[Table]:
    """Return a table for each network."""
    specs = {"tiny": GeneratorSpec(filters=4, blocks=1, kernel=3)} if tiny else SPECS
    return [_table(name, spec, 64 if tiny else 512, rounds) for name, spec in specs.items()]


def ways(spec: GeneratorSpec, side: int) -> dict[str, Work]:
    """Return the ways to denoise a slice of ``side`` px with a network of ``spec``."""
    net, window = ResNetGenerator(spec).eval(), HUWindow()
    hu = phantom(1, side)[0]
    values = window.normalise(torch.from_numpy(hu))[None, None]

    def plain() -> None:
        with torch.no_grad():
            net(values)

    calls = convolutions(net, values)
    found: dict[str, Work] = {"plain torch, no_grad": plain}
    own = ResNetGenerator(spec)
    own.load_state_dict(net.state_dict())
    denoiser = Denoiser(own, window, torch.device("cpu"))
    found["ctcycle"] = lambda: denoiser.correction(hu)
    found |= _onnx(net, window, spec, side)
    found["convolutions alone, channels first"] = forward(calls, torch.contiguous_format)
    found["convolutions alone, channels last"] = forward(calls, torch.channels_last)
    found["noise measured for the checks"] = lambda: measure_noise([hu])
    return found


def _onnx(net: ResNetGenerator, window: HUWindow, spec: GeneratorSpec, side: int) -> dict[str, Work]:
    try:
        from ctcycle.inference.engines.onnx import OnnxGenerator
    except ImportError:
        return {}
    copied = ResNetGenerator(spec)
    copied.load_state_dict(net.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_network(copied, path, 32)
        session = OnnxGenerator(path, threads=torch.get_num_threads())
    denoiser = Denoiser(session, window, torch.device("cpu"))
    hu = phantom(1, side)[0]
    return {"ctcycle, engine: onnx": lambda: denoiser.correction(hu)}


def _table(name: str, spec: GeneratorSpec, side: int, rounds: int) -> Table:
    return Table(f"Slice of {side} px, network {name}", in_turn(ways(spec, side), rounds))
