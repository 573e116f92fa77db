"""What methods are made of, and every config that is delivered."""

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_data import METHODS, TinyData, assert_same, train_config

from ctcycle.config.loading import load_config
from ctcycle.config.schema import Pipeline, TrainCycleGAN, TrainNoiseSwap, TrainSupervised
from ctcycle.errors import ConfigError
from ctcycle.runs.models import load_denoiser
from ctcycle.training.method import Method, build_method, learning_rates
from ctcycle.training.methods.supervised import Supervised

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(set((ROOT / "configs").rglob("*.yaml")) - set((ROOT / "configs" / "base").glob("*.yaml")))
CPU = torch.device("cpu")
TRAINED = (TrainCycleGAN, TrainNoiseSwap, TrainSupervised)


def tiny_method(tiny: TinyData, tmp_path: Path, method: str, *overrides: str) -> Method:
    config: Any = train_config(tiny, tmp_path / "run", method, *overrides).config
    return build_method(config, CPU)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.relative_to(ROOT / "configs").as_posix())
def test_every_config_loads_and_builds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(path).config
    steps = list(config.steps.values()) if isinstance(config, Pipeline) else [config]
    for step in steps:
        if isinstance(step, TRAINED):
            started = time.process_time()
            method = build_method(step.model_copy(update={"initial": None}), CPU)  # there is no earlier run here
            assert time.process_time() - started < 10
            assert sum(parameter.numel() for parameter in method.networks["low2full"].parameters()) > 1000


def test_configs_of_every_kind_are_delivered() -> None:
    names = {path.relative_to(ROOT / "configs").as_posix() for path in CONFIGS}
    assert {f"{name}.yaml" for name in ("demo", "cyclegan", "supervised", "noise_swap", "evaluate", "denoise")} <= names
    assert {"scan.yaml", "simulate.yaml", "report2024/cyclegan.yaml", "report2024/supervised.yaml"} <= names
    assert {"experiments/mispaired.yaml", "experiments/no_identity.yaml"} <= names


def test_the_report_has_its_parameter_counts() -> None:
    config = load_config(ROOT / "configs" / "report2024" / "cyclegan.yaml").config
    assert isinstance(config, TrainCycleGAN)
    networks = build_method(config, CPU).networks
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}
    assert counts == {
        "low2full": 11_370_883,
        "full2low": 11_370_883,
        "disc_full": 2_763_585,
        "disc_low": 2_763_585,
    }


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("cyclegan", {"low2full", "full2low", "disc_full", "disc_low", "swap"}),
        ("noise_swap", {"low2full", "disc_full", "swap"}),
        ("supervised", {"low2full"}),
    ],
)
def test_networks_and_optimisers(method: str, names: set[str], tiny: TinyData, tmp_path: Path) -> None:
    made = tiny_method(tiny, tmp_path, method)
    assert set(made.networks) == names
    held = {id(p) for o in made.updates.optimisers.values() for group in o.param_groups for p in group["params"]}
    assert held == {id(p) for p in made.networks.parameters()}
    judges = {id(p) for name in names if name.startswith("disc") for p in made.networks[name].parameters()}
    if judges:
        assert {id(p) for group in made.updates.optimisers["disc"].param_groups for p in group["params"]} == judges


def test_weights_are_a_function_of_the_seed_alone(tiny: TinyData, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = tiny_method(tiny, tmp_path, "cyclegan").networks.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert_same(first, tiny_method(tiny, tmp_path, "cyclegan").networks.state_dict())
    other = tiny_method(tiny, tmp_path, "cyclegan", "seed=1").networks.state_dict()
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_supervised_training_starts_from_the_same_generator(tiny: TinyData, tmp_path: Path) -> None:
    nets = [tiny_method(tiny, tmp_path, name).networks["low2full"].state_dict() for name in METHODS]
    assert_same(nets[0], nets[1])
    assert_same(nets[0], nets[2])


def test_training_can_start_from_what_is_trained(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    for method in METHODS:
        found = tiny_method(tiny, tmp_path, method, f"initial={tiny_run}").networks["low2full"]
        assert_same(found.state_dict(), load_denoiser(tiny_run).generator.state_dict())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("generator.filters=5", "different generator"),
        ("data.hu_window={low: -1024, high: 3071}", "trained with HUWindow"),
    ],
)
def test_what_is_trained_otherwise_is_no_start(
    override: str, message: str, tiny: TinyData, tiny_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_method(tiny, tmp_path, "supervised", f"initial={tiny_run}", override)


def test_the_threshold_of_the_loss_is_given_in_hu(tiny: TinyData, tmp_path: Path) -> None:
    method = tiny_method(tiny, tmp_path, "supervised", "loss.quadratic_below_hu=100")
    assert isinstance(method, Supervised)
    assert method.loss.quadratic_below == pytest.approx(0.1)


def test_switches(tiny: TinyData, tmp_path: Path) -> None:
    plain = tiny_method(tiny, tmp_path, "cyclegan", "noise_channel=false", "loss.noise_swap=0", "image_pool=7")
    assert set(plain.networks) == {"low2full", "full2low", "disc_full", "disc_low"}
    assert plain.networks["full2low"].in_channels == 1
    assert {name: pool.size for name, pool in plain.pools.items()} == {"pool_full": 7, "pool_low": 7}
    assert tiny_method(tiny, tmp_path, "cyclegan").networks["full2low"].in_channels == 2
    loaded: Any = train_config(tiny, tmp_path / "run", "cyclegan", "optimizer.lr_discriminator=0.5").config
    assert learning_rates(loaded) == {"gen": 1e-3, "disc": 0.5, "noise": 1e-3}
    assert plain.networks["low2full"].body[1].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_method_comes_back_from_its_state(tiny: TinyData, tmp_path: Path) -> None:
    method, other = (tiny_method(tiny, tmp_path, "cyclegan", f"seed={seed}") for seed in (1, 2))
    batch = {name: torch.randn(2, 1, 32, 32) for name in ("low_dose", "full_dose")}
    for _ in range(3):
        method(None, batch)
    other.load_state_dict(copy.deepcopy(method.state_dict()))  # optimisers keep the tensors that they are given
    assert_same(other.state_dict(), method.state_dict())
    losses = []
    for made in (method, other):
        made.updates.reseed(9)
        torch.manual_seed(9)  # dropout
        losses.append(made(None, batch))
    assert_same(*losses)
    assert_same(other.state_dict(), method.state_dict())
