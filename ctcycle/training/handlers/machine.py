"""Logs what training uses of the machine, to MLflow's page of system metrics."""

import time
from collections.abc import Callable
from typing import Protocol

import psutil
import torch
from ignite.engine import Engine, Events

_MIB = 2**20


class MetricLog(Protocol):
    """Takes metrics, such as `ctcycle.runs.tracking.Tracker`."""

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Log numbers at a step."""


class MachineUse:
    """Samples processors, memory and the GPU after iterations, at most once every few seconds, and after the last one.

    The names are those of MLflow's own system metrics. Nothing goes to ``metrics.jsonl``, since samples differ between
    identical runs.

    Args:
        tracker: the MLflow run.
        device: the device of the networks.
        seconds: least time between two samples.
        clock: returns seconds.
    """

    def __init__(
        self,
        tracker: MetricLog,
        device: torch.device,
        seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if seconds <= 0:
            raise ValueError(f"seconds is {seconds}; it must be greater than 0")
        self.tracker, self.device, self.seconds, self.clock = tracker, device, seconds, clock
        self._next = 0.0

    def attach(self, engine: Engine) -> None:
        """Sample while ``engine`` runs."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.sample)

    def _start(self, _engine: Engine) -> None:
        psutil.cpu_percent()  # the first call returns 0 and begins the interval of the second
        self._next = self.clock() + self.seconds

    def __call__(self, engine: Engine) -> None:
        """Sample if this is due."""
        if self.clock() >= self._next:
            self.sample(engine)
            self._next = self.clock() + self.seconds

    def sample(self, engine: Engine) -> None:
        """Log what is used now."""
        self.tracker.metrics(machine_use(self.device), engine.state.iteration)


def machine_use(device: torch.device) -> dict[str, float]:
    """Return the use of processors in percent since the last call, and of memory in MiB and percent."""
    memory = psutil.virtual_memory()
    found = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / _MIB,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_usage_megabytes": psutil.Process().memory_info().rss / _MIB,
    }
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = f"system/gpu_{device.index or 0}_memory_usage"
        found |= {f"{name}_megabytes": (total - free) / _MIB, f"{name}_percentage": 100 * (1 - free / total)}
    return found
