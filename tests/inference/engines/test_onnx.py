"""ONNX Runtime gives what torch gives, to a thousandth of a HU."""

import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxruntime")

from ctcycle.bundle.runtime.speed import phantom
from ctcycle.config.shipped import shipped_bundle
from ctcycle.errors import BundleError, ConfigError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.engines.onnx import OnnxGenerator, check_parity
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.runs.models import load_model

SHIPPED = shipped_bundle()
FILE = SHIPPED / "models" / "model.onnx"


def test_the_shipped_network_differs_by_less_than_a_thousandth_of_a_hu() -> None:
    model = load_model(SHIPPED, device="cpu")
    hu = phantom(1, 80)[0][:70]  # padded to a multiple of 32
    plain = Denoiser(model.generator, model.window, model.device)
    other = Denoiser(OnnxGenerator(FILE, 1), model.window, model.device)
    expected, found = plain.correction(hu), other.correction(hu)
    assert abs(expected).max() > 5
    assert abs(found - expected).max() < 1e-3
    assert found.dtype == expected.dtype


def test_results_name_the_engine() -> None:
    import onnxruntime

    network = OnnxGenerator(FILE, 1)
    assert onnxruntime.__version__ in str(network)
    model = load_model(SHIPPED, device="cpu")
    plain, other = (Denoiser(net, model.window, model.device).options() for net in (model.generator, network))
    assert plain.pop("network") != other.pop("network")
    assert plain == other


def test_a_network_of_other_weights_is_refused() -> None:
    network, generator = OnnxGenerator(FILE, 1), load_model(SHIPPED, device="cpu").generator
    check_parity(network, generator, "model.onnx")
    assert isinstance(generator, ResNetGenerator)
    with torch.no_grad():
        generator.body[1].weight *= 1.01
    with pytest.raises(BundleError, match=r"^model.onnx: differs from the weights of the model by .* of its range"):
        check_parity(network, generator, "model.onnx")


def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"not a model")
    with pytest.raises(BundleError, match=r"model.onnx: cannot be read as ONNX; export the bundle again"):
        OnnxGenerator(file, 1)


def test_without_onnxruntime_the_command_that_installs_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="engine=onnx: needs onnxruntime; run `pip install onnxruntime`"):
        OnnxGenerator(FILE, 1)
