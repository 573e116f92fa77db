"""Samples of the machine: their names, their values, and how often they are taken."""

import psutil
import pytest
import torch
from ignite.engine import Engine

from ctcycle.training.handlers.machine import MachineUse, machine_use


class Sent:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))


def test_memory_is_that_of_the_process_and_of_the_machine() -> None:
    found = machine_use(torch.device("cpu"))
    assert all(name.startswith("system/") for name in found)
    process = psutil.Process().memory_info().rss / 2**20
    assert found["system/process_memory_usage_megabytes"] == pytest.approx(process, rel=0.2)
    assert process < found["system/system_memory_usage_megabytes"] < psutil.virtual_memory().total / 2**20
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100


def test_samples_are_rare_and_the_last_iteration_has_one() -> None:
    sent, seconds = Sent(), iter(range(100))
    engine = Engine(lambda *_: None)
    MachineUse(sent, torch.device("cpu"), 4.0, clock=lambda: float(next(seconds))).attach(engine)
    engine.run([0] * 12)
    assert [step for step, _ in sent.rows] == [4, 8, 12, 12]


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds is 0"):
        MachineUse(Sent(), torch.device("cpu"), 0.0)
