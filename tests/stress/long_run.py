"""Train for 10,000 tiny iterations, and tell whether memory, open files and the MLflow store stop growing.

    python tests/stress/long_run.py --iterations 10000

Memory is that of the training process (resident, without its loader workers). The store grows by what is logged, so its
growth for each 1000 iterations must stay the same.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tiny_data import make_tiny_data, train

from ctcycle.training.building import Parts

EPOCH = 100
MOST_GROWTH = 0.02
"""Of the memory, after `FILLING`."""
FILLING = 2
"""Tenths of the run that do not count: the first validations draw pictures, for which matplotlib opens two fonts."""


@dataclass(frozen=True)
class Use:
    """What the process uses after a number of iterations.

    Attributes:
        iteration: their number.
        memory_mb: resident memory in MiB.
        files: open files.
        store_kb: size of the MLflow store in KiB.
        seconds: since the start.
    """

    iteration: int
    memory_mb: float
    files: int
    store_kb: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"iteration {self.iteration}: {self.memory_mb:.1f} MiB resident, {self.files} open files, "
            f"store of {self.store_kb:.0f} KiB, {self.seconds:.0f} s"
        )


def measure(iteration: int, store: Path, started: float) -> Use:
    """Return what this process uses now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = [path for path in (store, store.with_name(f"{store.name}-wal")) if path.exists()]
    return Use(
        iteration,
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(list(Path("/proc/self/fd").iterdir())),
        sum(path.stat().st_size for path in files) / 1024,
        time.monotonic() - started,
    )


def watched(store: Path, every: int) -> list[Use]:
    """Measure before every n-th iteration of the training that follows; the list fills up meanwhile."""
    found: list[Use] = []
    step: Callable[..., Any] = Parts.update
    started = time.monotonic()

    def update(parts: Parts, engine: Any, batch: Any) -> Any:
        if engine.state.iteration % every == 0:
            found.append(measure(engine.state.iteration, store, started))
            print(found[-1], flush=True)
        return step(parts, engine, batch)

    Parts.update = update  # type: ignore[method-assign]
    return found


def faults(uses: Sequence[Use]) -> list[str]:
    """Return what grows without end."""
    first, last = uses[FILLING], uses[-1]
    grown = [after.store_kb - before.store_kb for before, after in pairwise(uses)]
    found = []
    if last.memory_mb > (1 + MOST_GROWTH) * first.memory_mb:
        found.append(f"memory grew from {first.memory_mb:.1f} to {last.memory_mb:.1f} MiB")
    if last.files > first.files:
        found.append(f"open files grew from {first.files} to {last.files}")
    if max(grown[len(grown) // 2 :]) > 1.1 * max(grown[: len(grown) // 2]):
        found.append(f"the store grows faster and faster: by {', '.join(f'{size:.0f}' for size in grown)} KiB")
    return found


def main(arguments: list[str]) -> int:
    """Run the stress test from the command line; return 1 if something grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=10_000, help="multiple of 1000 (default: 10000)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as base:
        root = Path(base)
        data, store = make_tiny_data(root), root / "mlflow.db"
        uses = watched(store, given.iterations // 10)
        train(
            data,
            root / "run",
            "supervised",
            f"training.epochs={given.iterations // EPOCH}",
            f"training.iterations_per_epoch={EPOCH}",
            "validation.every=10",
            "tracking.enabled=true",
            "tracking.every=10",
            f"tracking.uri=sqlite:///{store}",
        )
    found = faults(uses)
    outcome = "; ".join(found) or "memory, open files and the growth of the store are flat"
    print(f"{given.iterations} iterations: {outcome}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
