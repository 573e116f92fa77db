"""Configs of sweeps and registrations: what is accepted, and what the errors say."""

from pathlib import Path
from typing import Any

import pytest

from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.config.tasks.experiments import Range
from ctcycle.errors import ConfigError


def load(tmp_path: Path, *overrides: str, **changes: Any) -> Any:
    sweep = {"task": "sweep", "out": "runs/sweep", "train": "cyclegan", "vary": {"optimizer.lr": [0.1, 0.2]}, **changes}
    (tmp_path / "sweep.yaml").write_text(dump_yaml(sweep))
    return load_config(tmp_path / "sweep.yaml", overrides).config


def test_keys_may_be_dotted_or_nested(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "vary.generator.filters=[8, 16]",
        "set.training.epochs=3",
        set={"training": {"batch_size": 2}, "seed": 1},
    )
    assert config.vary == {"optimizer.lr": [0.1, 0.2], "generator.filters": [8, 16]}
    assert config.set == {"training.batch_size": 2, "training.epochs": 3, "seed": 1}


def test_a_range_is_a_leaf(tmp_path: Path) -> None:
    vary = {"optimizer": {"lr": {"low": 0.1, "high": 1, "log": True}}}
    config = load(tmp_path, search="optuna", trials=2, vary=vary)
    assert config.vary == {"optimizer.lr": Range(low=0.1, high=1.0, log=True)}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vary": {}}, "vary"),
        ({"vary": {"a": []}}, "vary.a"),
        ({"vary": {"a": {"low": 1, "high": 2}}}, "vary.a is a range; list its values, or set search=optuna"),
        ({"search": "optuna"}, "trials is missing; search=optuna needs their number"),
        ({"set": {"optimizer.lr": 1.0}}, "optimizer.lr is in both set and vary; remove it from one of them"),
        ({"set": {"out": "x"}}, "out is set by the sweep itself; remove it from set and vary"),
        ({"search": "optuna", "trials": 2, "vary": {"a": {"low": 2, "high": 1}}}, "high=1 must be above low=2"),
        ({"search": "optuna", "trials": 2, "vary": {"a": {"low": 0, "high": 1, "log": True}}}, "must be positive"),
        ({"search": "optuna", "trials": 2, "vary": {"a": {"low": 1, "high": 9, "log": True, "step": 2}}}, "only one"),
        ({"search": "optuna", "trials": 2, "vary": {"a": {"low": 0.5, "high": 9, "whole": True}}}, "whole numbers"),
        ({"score": "psnr"}, "score"),
        ({"trials": 0}, "trials"),
    ],
)
def test_errors_say_what_is_wrong(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **changes)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("override", "accepted"),
    [
        ("alias=champion", True),
        ("alias=latest", False),
        ("alias=v3", False),
        ("alias='a b'", False),
        ("name='My denoiser 2.0'", True),
        ("name=a/b", False),
        ("name='a:b'", False),
    ],
)
def test_names_that_mlflow_would_refuse_are_refused_before(override: str, accepted: bool, tmp_path: Path) -> None:
    (tmp_path / "register.yaml").write_text("task: register\nout: runs/r\nbundle: bundles/ct_denoiser\n")
    if accepted:
        load_config(tmp_path / "register.yaml", [override])
    else:
        with pytest.raises(ConfigError):
            load_config(tmp_path / "register.yaml", [override])
