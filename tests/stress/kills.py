"""Kill training runs repeatedly, resume them, and compare the results to an uninterrupted run.

    python tests/stress/kills.py --kills 20

Half of the kills happen at random times, half at named points: while a checkpoint is written, between its renames,
during validation, around a call to MLflow. All are SIGKILL. Each attempt is a fork of a process that has everything
imported.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from tiny_data import TinyData, assert_same_run, make_tiny_data, write_train_config

from ctcycle.atomic import write_text
from ctcycle.run import main as run_command
from ctcycle.runs import tracking
from ctcycle.runs.checkpoints import CheckpointFolder
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.mlflow_store.event_file import EventFile
from ctcycle.runs.tracking import recorded_uri
from ctcycle.training import trainer
from ctcycle.training.building import Parts
from ctcycle.training.handlers import samples
from ctcycle.training.monitor.validation import HUScores

LENGTH = ["training.epochs=5", "training.iterations_per_epoch=4", "tracking.enabled=true"]
POINTS: dict[tuple[Any, str], int] = {
    (torch, "save"): 5,
    (Path, "replace"): 15,
    (os, "fsync"): 15,
    (Parts, "update"): 20,
    (HUScores, "update"): 4,
    (CheckpointFolder, "save_best"): 1,
    (RunFolder, "append_metrics"): 8,
    (EventFile, "add"): 8,
    (tracking, "send"): 8,
    (RunFolder, "finish"): 1,
}
"""Functions that training calls, with their number of calls; it is killed just before or after one of the calls."""


@dataclass(frozen=True)
class Point:
    """A point in the program at which to kill it.

    Attributes:
        owner: module or class of the function.
        name: name of the function.
        call: number of the call, from 1.
        after: kill when the call returns instead of when it starts.
    """

    owner: Any
    name: str
    call: int
    after: bool

    def __str__(self) -> str:
        where = f"{self.owner.__name__}.{self.name}"
        return f"{'after' if self.after else 'before'} call {self.call} of {where}"

    def arm(self) -> None:
        """Make this process kill itself at this point."""
        function, calls = getattr(self.owner, self.name), 0

        def called(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if calls == self.call:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(self.owner, self.name, called)


@dataclass(frozen=True)
class Moment:
    """A time at which to kill the program.

    Attributes:
        seconds: time since the start.
    """

    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s after the start"


def in_fork(action: Callable[[], int], log: Path, kill: Point | Moment | None = None) -> bool:
    """Run ``action`` in a forked process; return whether it finished with exit code 0 before it was killed.

    Raises:
        RuntimeError: it ended in another way.
    """
    child = os.fork()
    if child == 0:
        with log.open("a") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        try:
            if isinstance(kill, Point):
                kill.arm()
            os._exit(action())
        except BaseException:  # noqa: BLE001 (it would clean up the folders of the parent)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(70)
    if isinstance(kill, Moment):
        time.sleep(kill.seconds)
        os.kill(child, signal.SIGKILL)  # safe if it has already ended: it has not been waited for
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in ({0, -signal.SIGKILL} if kill else {0}):
        raise RuntimeError(f"exit code {code}:\n{log.read_text()[-3000:]}")
    return code == 0


class Trial:
    """An uninterrupted training run, and others that are killed and resumed.

    Args:
        folder: folder for all files.
        store: an empty MLflow SQLite store.
        seed: seed of the kills.
    """

    def __init__(self, folder: Path, store: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)  # noqa: S311 (not for secrets)
        self.data: TinyData = make_tiny_data(folder)
        (folder / "runs").mkdir()
        shutil.copy(store, folder / "runs" / "mlflow.db")
        self.whole = folder / "runs" / "whole"
        started = time.monotonic()
        self.train(self.whole)
        self.seconds = time.monotonic() - started

    def train(self, run: Path, kill: Point | Moment | None = None, overrides: list[str] | None = None) -> bool:
        """Start or resume ``run``; return whether it has finished."""
        config = write_train_config(self.data, run, "cyclegan")
        line = ["--config", str(config), *LENGTH, *(overrides or [])]
        return in_fork(partial(run_command, line), run.with_suffix(".log"), kill)

    def kills(self) -> Iterator[Point | Moment]:
        """Yield kills of both kinds alternately, without end."""
        points = [Point(*function, call, after) for function, call in POINTS.items() for after in (False, True)]
        self.random.shuffle(points)
        for point in cycle(points):
            yield replace(point, call=self.random.randint(1, point.call))
            yield Moment(self.random.uniform(0, self.seconds))

    def survive(self, number: int) -> int:
        """Kill training runs ``number`` times in total, compare each result, and return the number of runs."""
        kills, done, runs = self.kills(), 0, 0
        kill = next(kills)
        while done < number:
            runs += 1
            run = self.folder / "runs" / f"killed{runs}"
            finished = False
            while done < number and not finished:
                often = ["training.checkpoint_minutes=1e-5", f"data.workers={self.random.randint(0, 1)}"]
                finished = self.train(run, kill, often)
                if finished:  # it finished before the kill, which is used for the next run
                    continue
                done += 1
                state = CheckpointFolder(run / "checkpoints").load_last()
                print(f"{done} {run.name}: {kill}; checkpoint at iteration {state['iteration'] if state else 0}")
                kill = next(kills)
            if not finished:
                self.train(run)
            self.compare(run)
        return runs

    def compare(self, run: Path) -> None:
        """Assert that ``run`` gave the same results as the uninterrupted run, in its folder and in MLflow."""
        assert_same_run(run, self.whole)
        assert history(run) == history(self.whole)
        left = {path.name for path in run.rglob("*") if path.name.startswith(".")} | {
            path.name for path in run.iterdir()
        }
        assert left == {path.name for path in self.whole.iterdir()}, left


def history(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what MLflow keeps of a finished run, but times and the load of the machine: (step, value), by step."""
    client, run_id = MlflowClient(recorded_uri(run)), json.loads((run / "tracking.json").read_text())["run_id"]
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED", found.info.status
    keys = sorted(key for key in found.data.metrics if not key.startswith(("time/", "system/")))
    return {key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)] for key in keys}


def warm_up(store: Path) -> None:
    """Import everything that training imports lazily, and create ``store`` if it does not exist.

    Compute no gradients: torch does not allow them in a fork of a process that has computed some.
    """
    MlflowClient(f"sqlite:///{store}").search_experiments()
    torch.optim.Adam([torch.zeros(1)])
    torch.set_num_threads(1)

    def draw(path: Path, *_content: object) -> None:
        write_text(path, "a figure")

    samples.slice_panels = trainer.loss_curves = draw  # type: ignore[assignment]


def main(arguments: list[str]) -> None:
    """Run the stress test from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of kills (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the kills (default: 0)")
    parser.add_argument("--store", type=Path, help="an empty MLflow SQLite store, which takes seconds to create")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or Path(folder) / "mlflow.db"
        warm_up(store)
        trial = Trial(Path(folder), store, given.seed)
        runs = trial.survive(given.kills)
    print(f"{given.kills} kills in {runs} training runs: all results are bit-identical to the uninterrupted run")


if __name__ == "__main__":
    main(sys.argv[1:])
