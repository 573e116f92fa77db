"""Values of trials: all combinations, draws that repeat, and which trials end early."""

import builtins
from typing import Any

import pytest

from ctcycle.config.tasks.experiments import Sweep
from ctcycle.errors import ConfigError
from ctcycle.tasks.experiments.search import check_optuna, count, draw, is_behind, planned
from ctcycle.tasks.experiments.trials import Trial


def sweep(**changes: Any) -> Sweep:
    given = {"task": "sweep", "out": "out", "train": "cyclegan", "vary": {"optimizer.lr": [1e-4, 2e-4]}, **changes}
    return Sweep.model_validate(given, strict=False)


def test_a_grid_is_all_combinations_in_order() -> None:
    config = sweep(vary={"a": [1, 2], "b": ["x", None, True]})
    assert planned(config) == [{"a": a, "b": b} for a in (1, 2) for b in ("x", None, True)]
    assert count(config) == 6
    assert planned(sweep(vary={"a": [1, 2], "b": [3, 4]}, trials=3)) == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
    ]


RANGES = {
    "optimizer.lr": {"low": 1e-5, "high": 1e-3, "log": True},
    "generator.filters": {"low": 8, "high": 64, "step": 8, "whole": True},
    "loss.cycle": {"low": 1.0, "high": 10.0},
    "generator.dilations": [[1], [1, 2]],
}


def finished(number: int, values: Any, score: float) -> Trial:
    return Trial(number, values, "finished", "val/psnr", {1: score})


def test_draws_lie_in_their_ranges_and_repeat() -> None:
    pytest.importorskip("optuna")
    config = sweep(search="optuna", trials=12, vary=RANGES, seed=3)
    earlier: list[Trial] = []
    for number in range(1, 8):
        values = draw(config, earlier)
        assert values == draw(config, earlier)
        assert 1e-5 <= values["optimizer.lr"] <= 1e-3
        assert values["generator.filters"] in range(8, 65, 8)
        assert isinstance(values["generator.filters"], int)
        assert 1 <= values["loss.cycle"] <= 10
        assert values["generator.dilations"] in ([1], [1, 2])
        earlier.append(finished(number, values, 30 - values["loss.cycle"]))
    assert len({str(trial.values) for trial in earlier}) == 7
    assert draw(sweep(search="optuna", trials=12, vary=RANGES, seed=4), []) != earlier[0].values


def test_draws_learn_from_earlier_trials() -> None:
    pytest.importorskip("optuna")
    config = sweep(search="optuna", trials=40, vary={"x": {"low": 0.0, "high": 1.0}})
    earlier: list[Trial] = []
    for number in range(1, 31):
        value = draw(config, earlier)["x"]
        earlier.append(finished(number, {"x": value}, -abs(value - 0.8)))
    first, last = ([abs(trial.values["x"] - 0.8) for trial in part] for part in (earlier[:10], earlier[20:]))
    assert sum(last) < 0.7 * sum(first)


def test_trials_without_score_or_ended_early_do_not_stop_the_search() -> None:
    pytest.importorskip("optuna")
    config = sweep(search="optuna", trials=9, vary=RANGES)
    values = draw(config, [])
    trials = [
        Trial(1, values, "failed", reason="?"),
        Trial(2, values, "pruned", "val/psnr", {1: 3.0}),
        Trial(3, values),
    ]
    assert set(draw(config, trials)) == set(RANGES)


def test_a_trial_below_the_median_of_the_others_ends() -> None:
    pytest.importorskip("optuna")
    config = sweep(prune={"enabled": True, "trials": 2, "epochs": 2})
    others = [Trial(n, {"optimizer.lr": 1e-4}, "finished", "val/psnr", {1: 20.0 + n, 2: 30.0 + n}) for n in (1, 2, 3)]

    def running(*scores: float, key: str = "val/psnr") -> Trial:
        return Trial(9, {"optimizer.lr": 2e-4}, "begun", key, dict(enumerate(scores, 1)))

    assert is_behind(config, others, running(25.0, 31.0))
    assert not is_behind(config, others, running(25.0, 33.0))
    assert not is_behind(config, others, running(10.0))  # too early
    assert not is_behind(config, others, running())
    assert not is_behind(config, others[:1], running(1.0, 1.0))  # too few others
    penalties = [
        Trial(n, {"optimizer.lr": 1e-4}, "finished", "watch/penalty", {1: 5.0 + n, 2: float(n)}) for n in (1, 2, 3)
    ]
    assert is_behind(config, penalties, running(5.0, 4.0, key="watch/penalty"))
    assert not is_behind(config, penalties, running(5.0, 1.5, key="watch/penalty"))


def test_without_optuna_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match="pip install optuna, or use search=grid"):
        check_optuna()
