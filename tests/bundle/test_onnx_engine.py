"""`denoise` with engine=onnx: the network of a bundle, or one exported from a run."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet
from phantom_series import body_hu, stored_body, write_series

pytest.importorskip("onnxruntime")

from ctcycle.bundle.onnx_engine import with_onnx
from ctcycle.config.loading import load_config
from ctcycle.config.shipped import shipped_bundle
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.errors import BundleError, ConfigError
from ctcycle.runs.models import load_model
from ctcycle.tasks import running


def denoised(source: Path, out: Path, *overrides: str) -> np.ndarray:
    config = out.with_suffix(".yaml")
    config.write_text(f"task: denoise\ninput: {source}\nout: {out}\n")
    running.run(load_config(config, overrides))
    (info,) = find_series(out)[0]
    return read_series(info).hu


def test_both_engines_write_the_same_series(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", stored_body())
    results = [
        denoised(tmp_path / "scan", tmp_path / engine, f"engine={engine}", "average_flips=false")
        for engine in ("torch", "onnx")
    ]
    assert abs(results[0] - results[1]).max() <= 1  # one step of the stored values, where rounding is a tie
    assert (results[0] == results[1]).mean() > 0.999
    assert abs(results[0] - body_hu()).max() > 1


@pytest.mark.slow
def test_the_network_of_a_run_is_exported_first(tiny_run: Path) -> None:
    model = load_model(tiny_run, device="cpu")
    other, image = with_onnx(model, tiny_run), torch.randn(1, 1, 64, 96)
    with torch.inference_mode():
        assert torch.allclose(other.generator(image), model.generator.eval()(image), atol=1e-6)
    assert not list(tiny_run.rglob("*.onnx"))


def test_a_network_of_another_model_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped_bundle(), bundle)
    model = load_model(bundle, device="cpu")
    with torch.no_grad():
        next(model.generator.parameters()).mul_(1.05)
    with pytest.raises(BundleError, match=r"model.onnx: differs from the weights of the model"):
        with_onnx(model, bundle)


def test_what_onnx_runtime_cannot_run_is_refused() -> None:
    model = load_model(shipped_bundle(), device="cpu")
    with pytest.raises(ConfigError, match="engine=onnx: runs on the CPU, not on meta; set device=cpu or engine=torch"):
        with_onnx(replace(model, device=torch.device("meta")), shipped_bundle())
    net = BasicUNet(2, 1, 1, features=(4, 4, 4, 4, 4, 4))
    with pytest.raises(ConfigError, match="engine=onnx: the network of this model cannot be exported for slices"):
        with_onnx(replace(model, generator=net), shipped_bundle())
