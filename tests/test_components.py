import logging
import sys
from pathlib import Path

import monai.networks.nets
import monai.transforms
import pytest
import torch
from pydantic import ValidationError

from ctcycle import components
from ctcycle.components import build_component
from ctcycle.config.components import Component, trusting
from ctcycle.errors import ConfigError


def component(target: str, **arguments: object) -> Component:
    return Component.model_validate({"_target_": target, **arguments})


def test_a_short_name_is_looked_up_at_home_and_a_full_one_anywhere_allowed() -> None:
    flip = build_component(component("RandFlip", prob=1.0, spatial_axis=0), "monai.transforms")
    assert isinstance(flip, monai.transforms.RandFlip)
    assert flip(torch.arange(4).reshape(1, 2, 2)).tolist() == [[[2, 3], [0, 1]]]
    net = build_component(component("monai.networks.nets.UNet", **UNET), "monai.transforms")
    assert net(torch.zeros(1, 1, 16, 16)).shape == (1, 1, 16, 16)


UNET = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2]}


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        (
            "RandFlop",
            {},
            "'RandFlop': not found; give a name from monai.transforms or a full dotted path",
        ),
        ("monai.transforms.RandFlop", {}, "not found"),
        ("monai.networks.nothing.Net", {}, "not found"),
        ("RandFlip", {"probability": 1}, "probability.*arguments given: {'probability': 1}"),
        (
            "torch.nn.Conv2d",
            {"in_channels": 1, "out_channels": 3, "kernel_size": 3, "groups": 2},
            "divisible by groups",
        ),
    ],
)
def test_what_cannot_be_built_is_named(target: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_component(component(target, **arguments), "monai.transforms")


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("monai.transforms.utils.optional_import", {"module": "this"}),
        ("ctcycle.atomic.write_text", {"path": "x", "text": "y"}),
        ("ctcycle.runs.folder.RunFolder", {"path": "x"}),
        ("utils", {}),
    ],
)
def test_only_networks_and_transforms_are_called(target: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="neither a torch module nor a MONAI transform"):
        build_component(component(target, **arguments), "monai.transforms")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "torch.nn",
        "monai.bundle.run",
        "monai.transforms.x._y",
        "a b",
        "",
        "x.",
        "torch.nnx.Y",
    ],
)
def test_names_outside_the_allowed_packages_are_refused_on_reading(target: str) -> None:
    with pytest.raises(ValidationError, match=r"outside the allowed packages|not a dotted name"):
        component(target)


def test_arguments_are_data() -> None:
    part = component("RandFlip", prob="$__import__('os').getcwd()")
    assert part.arguments == {"prob": "$__import__('os').getcwd()"}
    with pytest.raises(ConfigError):
        build_component(part, "monai.transforms")
    with pytest.raises(ValidationError):
        Component.model_validate({"prob": 1})


@pytest.mark.parametrize(
    ("target", "arguments", "risk"),
    [
        ("LoadImage", {"reader": "os.mkdir", "path": "made"}, "calls functions named by its arguments"),
        ("monai.transforms.LoadImaged", {"keys": "x"}, "reads or writes files"),
        ("SaveImage", {"output_dir": "made"}, "reads or writes files"),
        ("monai.transforms.io.array.WriteFileMapping", {"mapping_file_path": "made"}, "reads or writes files"),
        ("SaveClassificationd", {"keys": "x", "output_dir": "./made"}, r"load files or use the network \(output_dir\)"),
        ("RandFlip", {"prob": ["a", {"b": "c\\d"}]}, r"load files or use the network \(prob\)"),
        ("monai.networks.nets.HoVerNet", {"pretrained_url": "x"}, r"use the network \(pretrained_url\)"),
        ("monai.networks.nets.DenseNet121", {"pretrained": True}, r"use the network \(pretrained\)"),
        ("monai.networks.blocks.text_embedding.TextEncoder", {"out_channels": 1}, r"use the network \(pretrained\)"),
        ("ctcycle.training.handlers.average.AveragedModel", {"model": "x"}, "code from outside the allowed packages"),
    ],
)
def test_parts_that_reach_files_networks_or_other_code_need_trust(
    target: str, arguments: dict[str, object], risk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"'{target}': .*{risk}.*; pass --trust to run it anyway"):
        build_component(component(target, **arguments), "monai.transforms")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:NvImgCodec", "ignore:Preferably the reader")  # MONAI's, of its readers
def test_the_part_that_calls_what_its_arguments_name_really_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with trusting(every_target=True):
        build_component(component("LoadImage", reader="os.mkdir", path="made"), "monai.transforms")
    assert (tmp_path / "made").is_dir()  # else the trap of the test above is none


def test_weights_that_are_declined_need_no_trust() -> None:
    part = component("monai.networks.nets.EfficientNetBN", model_name="efficientnet-b0", pretrained=False)
    assert isinstance(build_component(part, "monai.networks.nets"), torch.nn.Module)


FOREIGN = """
from pathlib import Path
from torch import nn

Path(__file__).with_suffix(".ran").touch()

class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 1, 1)

def make():
    return Net()
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of someone else, importable; the mark that it leaves when it runs."""
    (tmp_path / "foreign_parts.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "foreign_parts", raising=False)
    return tmp_path / "foreign_parts.ran"


def test_trust_takes_any_class_of_the_two_kinds_and_names_each_in_a_line(
    foreign: Path, caplog: pytest.LogCaptureFixture
) -> None:
    components._warn.cache_clear()
    with pytest.raises(ValidationError, match="outside the allowed packages"):
        component("foreign_parts.Net")
    with caplog.at_level(logging.WARNING), trusting(every_target=True):
        part = component("foreign_parts.Net")
        assert not foreign.exists()  # reading a config imports nothing
        assert type(build_component(part, "monai.networks.nets")).__module__ == "foreign_parts"
        build_component(part, "monai.networks.nets")
        for target in ("foreign_parts.make", "os.system"):
            with pytest.raises(ConfigError, match="neither a torch module nor a MONAI transform"):
                build_component(component(target), "monai.networks.nets")
        with pytest.raises(ValidationError, match="not a dotted name"):
            component("foreign_parts._Net")
    assert foreign.exists()
    assert caplog.messages == [
        "_target_ 'foreign_parts.Net': is code from outside the allowed packages; running it because of --trust"
    ]


def test_trust_ends_where_it_was_given() -> None:
    with trusting(every_target=True):
        part = component("torch.optim.swa_utils.AveragedModel", model="x")
        with trusting(every_target=False), pytest.raises(ValidationError):
            component("torch.optim.swa_utils.AveragedModel")
    with pytest.raises(ValidationError):
        component("torch.optim.swa_utils.AveragedModel")
    with pytest.raises(ConfigError, match="outside the allowed packages; pass --trust"):
        build_component(part, "monai.networks.nets")  # what was read then is not built now
