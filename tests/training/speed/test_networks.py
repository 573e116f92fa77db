"""Generators that recompute, or are compiled, learn what plain ones learn."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.networks.nets import BasicUNet
from tiny_data import TinyData, train, train_config
from torch import Tensor, nn

from ctcycle.errors import ConfigError
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.checkpoints import read_checkpoint
from ctcycle.training.speed.networks import recompute_activations

SPEC = GeneratorSpec(filters=4, blocks=3, downsamplings=1, kernel=3, init="kaiming", dropout=0.3)
NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: ResNetGenerator(SPEC),
    "unet": lambda: BasicUNet(2, 1, 1, features=(4, 4, 4, 4, 4, 4), dropout=0.2),
}


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def gradients(net: nn.Module, image: Tensor) -> tuple[dict[str, Tensor], int]:
    """Gradients of two chained calls, and the bytes of activations that they keep."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.random.fork_rng():
        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = net(net(image)).square().mean()
        loss.backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize("kind", NETS)
def test_recomputing_keeps_gradients_and_dropout_and_saves_memory(kind: str) -> None:
    image = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, again = seeded(NETS[kind]), seeded(NETS[kind])
    recompute_activations(again)
    (expected, much), (found, little) = gradients(plain, image), gradients(again, image)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
    assert little < much / 10


def test_a_recomputing_network_is_still_itself() -> None:
    plain, net = seeded(NETS["resnet"]), seeded(NETS["resnet"])
    recompute_activations(net)
    assert isinstance(net, ResNetGenerator)
    assert str(net) == str(plain)
    assert net.state_dict().keys() == plain.state_dict().keys()
    other, image = copy.deepcopy(net), torch.ones(1, 1, 16, 16)
    nn.init.zeros_(next(net.parameters()))
    with torch.inference_mode():
        assert torch.equal(other.eval()(image), plain.eval()(image))


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_a_run_that_recomputes_ends_with_the_same_weights(tiny: TinyData, tmp_path: Path) -> None:
    runs = [
        train(tiny, tmp_path / f"run{again}", "cyclegan", f"training.recompute={again}") for again in ("false", "true")
    ]
    one, other = (read_checkpoint(run / "checkpoints" / "last.pt")["networks"] for run in runs)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_compiling_and_recomputing_exclude_each_other(tiny: TinyData, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compile and recompute are both set"):
        train_config(tiny, tmp_path / "run", "supervised", "training.compile=true", "training.recompute=true")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own modules
@pytest.mark.usefixtures("no_figures")
def test_a_compiled_run_has_nearly_the_same_losses(tiny: TinyData, tmp_path: Path) -> None:
    states = []
    for compiled in ("false", "true"):
        run = train(
            *(tiny, tmp_path / f"run{compiled}", "supervised"),
            *("generator.dropout=0", f"training.compile={compiled}", "training.epochs=2"),
        )
        states.append(read_checkpoint(run / "checkpoints" / "last.pt")["networks"])
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.allclose(states[1][name], value, atol=1e-3), name
