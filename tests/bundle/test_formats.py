"""The network of a bundle in other formats."""

from pathlib import Path

import pytest
import torch
from exported_bundle import plan_of

from ctcycle.bundle import formats
from ctcycle.bundle.export import export_bundle
from ctcycle.bundle.formats import check_packages, export_network, side_multiple
from ctcycle.errors import BundleError, ConfigError
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec


@pytest.fixture(scope="module")
def spec() -> GeneratorSpec:
    return GeneratorSpec(
        filters=4,
        blocks=2,
        downsamplings=2,
        dilations=(1, 9),
        kernel=3,
        norm="instance",
        residual="conv1x1",
        zero_last=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "pt2"])
def test_exported_networks_take_any_batch_and_size(spec: GeneratorSpec, suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ResNetGenerator(spec)
    side = side_multiple(spec)
    assert side == 64  # 32 px are 8 at the bottom, where 9 are reflected
    path = tmp_path / f"net.{suffix}"
    export_network(net, path, side)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # no weights beside it
    if suffix == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == ["batch", 1, "rows", "columns"]

        def run(image: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    else:
        run = torch.export.load(path).module()
    for shape in ((1, 1, 64, 64), (3, 1, 128, 64), (1, 1, 64, 320)):
        image = torch.rand(shape)
        with torch.inference_mode():
            expected = net(image)
        torch.testing.assert_close(run(image), expected, rtol=0, atol=1e-5)
        assert (expected - image).abs().max() > 1e-2


def test_the_multiple_is_no_larger_than_need_be() -> None:
    assert [side_multiple(GeneratorSpec(downsamplings=n)) for n in (0, 2, 4, 5)] == [32, 32, 32, 64]


def test_a_network_that_cannot_be_exported_is_told(tmp_path: Path) -> None:
    class Choosy(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image if image.sum() > 0 else -image

    with pytest.raises(
        BundleError, match=r"^net\.pt2: torch cannot export this network .*remove this format from `formats`$"
    ):
        export_network(Choosy(), tmp_path / "net.pt2", 32)


def test_a_missing_package_is_told_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tiny_run: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(formats.NEEDED, "onnx", ("onnx", "no_such_package"))
    with pytest.raises(
        ConfigError, match=r"formats: onnx needs no_such_package \(not installed\); .*`pip install no_such_package`"
    ):
        export_bundle(plan_of(tiny_run, tmp_path / "made"))
    assert not list(tmp_path.iterdir())
    check_packages(("pt2",))
