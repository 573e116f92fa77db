"""Every benchmark runs in tiny form; nothing is asserted about time."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import NAMES, main
from benchmarks.floor import convolutions
from benchmarks.measuring import Table, in_turn
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec

ROOT = Path(__file__).parents[2]
START = ("start_up", "scaling")
"""These start processes, which take seconds to import torch."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*START, "costs"}])
def test_a_benchmark_runs_in_tiny_form(name: str) -> None:
    for table in import_module(f"benchmarks.{name}").run(tiny=True, rounds=1):
        assert len(table.seconds) >= 2
        assert all(len(found) == 1 and found[0] >= 0 for found in table.seconds.values())
        reference, *others = table.text().splitlines()[4:]
        assert reference.count("|") == others[0].count("|")


@pytest.mark.slow
@pytest.mark.parametrize("name", START)
def test_a_benchmark_that_starts_processes_runs_in_tiny_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for table in import_module(f"benchmarks.{name}").run(tiny=True, rounds=1):
        assert all(found for found in table.seconds.values())


def test_ways_take_turns_after_a_round_that_is_not_counted() -> None:
    done: list[str] = []
    found = in_turn({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, 2, iter(range(100)).__next__)
    assert done == ["a", "b"] * 3
    assert found == {"a": [1, 1], "b": [1, 1]}


def test_a_table_shows_the_median_of_the_ratios_of_rounds() -> None:
    table = Table("Work", {"reference": [1.0, 2.0, 4.0], "other": [0.5, 1.5, 2.0]}, pieces=3)
    assert table.ratio("other") == 0.5
    assert table.text().splitlines()[-1] == "| other | 1.5 s | 500 ms to 2 s | 0.50 | 2 |"


def test_the_floor_has_every_convolution_with_its_input() -> None:
    net = ResNetGenerator(GeneratorSpec(filters=4, blocks=1, downsamplings=1, kernel=3))
    calls = convolutions(net, torch.zeros(1, 1, 32, 32))
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    assert len(calls) == sum(isinstance(layer, kinds) for layer in net.modules())
    assert calls[0][1].shape == (1, 1, 34, 34)


def test_operations_are_those_of_a_convolution_counted_by_hand() -> None:
    from benchmarks.costs import forward_operations

    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.ConvTranspose2d(3, 1, 2, stride=2))
    assert forward_operations(net, torch.zeros(1, 2, 8, 8)) == 2 * (2 * 3 * 9 * 64) + 2 * (3 * 1 * 4 * 64)


def test_the_command_prints_markdown_and_refuses_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluation", "--tiny", "--rounds", "1"]) == 0
    assert "| way | median | lowest to highest | ratio |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "unknown benchmark nothing; choose from training" in capsys.readouterr().err


def test_the_command_runs_from_the_root_of_the_project() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--tiny" in done.stdout
