"""A batch in parts gives the step of the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_data import METHODS, TinyData, train, train_config
from torch import Tensor

from ctcycle.errors import ConfigError
from ctcycle.training.building import build
from ctcycle.training.method import Method, build_method

CPU = torch.device("cpu")
PLAIN = ("generator.dropout=0", "generator.init=kaiming")
WAYS = [(name, ()) for name in METHODS] + [
    ("cyclegan", ("loss.form=wgan_gp",)),
    ("cyclegan", ("loss.gradient_penalty=r1", "loss.identity_domain=source")),
    ("noise_swap", ("loss.form=wgan_gp",)),
    ("physics_cyclegan", ("loss.form=wgan_gp", "adversary_every=1")),
    ("calibrated_pairs", ("optimizer.clip_norm=0.01",)),
]


def method_in_parts(tiny: TinyData, tmp_path: Path, name: str, parts: int, *overrides: str) -> Method:
    config: Any = train_config(tiny, tmp_path / "run", name, *PLAIN, *overrides).config
    method = build_method(config, CPU)
    method.updates.parts = parts
    return method


def patches() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {name: 0.3 * torch.randn(6, 1, 32, 32, generator=rng) for name in ("low_dose", "full_dose", "noise")}


def stepped(method: Method, steps: int) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Loss terms of each step, and the gradients of the last."""
    terms = []
    for number in range(steps):
        method.updates.reseed(number)
        terms.append(method(None, patches()))
    return terms, {name: p.grad for name, p in method.networks.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("name", "overrides"), WAYS, ids=str)
@pytest.mark.parametrize("parts", [2, 6])
def test_parts_give_the_losses_and_gradients_of_the_whole_batch(
    name: str, overrides: tuple[str, ...], parts: int, tiny: TinyData, tmp_path: Path
) -> None:
    plain = () if "discriminator" not in METHODS[name] else ("discriminator.spectral_norm=false",)
    whole, divided = (method_in_parts(tiny, tmp_path, name, n, *plain, *overrides) for n in (1, parts))
    (one, gradients), (other, found) = stepped(whole, 1), stepped(divided, 1)
    for terms, expected in zip(other, one, strict=True):
        assert {key: term.item() for key, term in terms.items()} == pytest.approx(
            {key: term.item() for key, term in expected.items()}, rel=1e-4, abs=1e-6
        )
    assert found.keys() == gradients.keys()
    for key, gradient in gradients.items():
        assert torch.allclose(found[key], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()) + 1e-9), key


def test_all_parts_meet_the_same_spectral_norm(tiny: TinyData, tmp_path: Path) -> None:
    whole, divided = (method_in_parts(tiny, tmp_path, "cyclegan", parts) for parts in (1, 3))
    stepped(whole, 1)
    stepped(divided, 1)
    vectors = {key: value for key, value in whole.networks.state_dict().items() if key.endswith(("0._u", "0._v"))}
    assert vectors
    for key, value in vectors.items():
        # the last call of the whole batch belongs to the step of the discriminators in both
        assert torch.allclose(divided.networks.state_dict()[key], value, atol=1e-5), key
    assert all(module.training for module in divided.networks.modules())


def test_batches_that_cannot_be_divided_are_refused(tiny: TinyData, tmp_path: Path) -> None:
    config: Any = train_config(tiny, tmp_path / "run", "supervised", "training.accumulate=3").config
    with pytest.raises(ConfigError, match=r"training.accumulate=3: batches of 2 patches cannot be divided evenly; set"):
        build(config)


def test_batch_norm_in_parts_is_refused(tiny: TinyData, tmp_path: Path) -> None:
    overrides = ("training.accumulate=2", "generator.norm=batch")
    config: Any = train_config(tiny, tmp_path / "run", "supervised", *overrides).config
    with pytest.raises(ConfigError, match=r"norm=batch with training.accumulate=2: each part would be normalised by"):
        build(config)


def test_the_contrast_of_lesions_is_one_of_whole_batches(tiny: TinyData, tmp_path: Path) -> None:
    overrides = ("training.accumulate=2", "loss.contrast=1", "data.lesions={}")
    with pytest.raises(ConfigError, match=r"loss.contrast with training.accumulate=2; the contrast kept is measured"):
        train_config(tiny, tmp_path / "run", "supervised", *overrides)


@pytest.mark.usefixtures("no_figures")
def test_a_run_in_parts_has_the_losses_of_one_with_whole_batches(tiny: TinyData, tmp_path: Path) -> None:
    losses = []
    for parts in (1, 2):
        run = train(tiny, tmp_path / f"run{parts}", "supervised", "generator.dropout=0", f"training.accumulate={parts}")
        losses.append((run / "metrics.jsonl").read_text().splitlines())
    import json

    for one, other in zip(*losses, strict=True):
        assert json.loads(other) == pytest.approx(json.loads(one), rel=1e-3)
