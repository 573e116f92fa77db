"""Kill every task again and again, start it again, and compare its output to that of an uninterrupted run.

    python tests/stress/task_kills.py --kills 30

The tasks are simulate, its simulated low dose of real scans, scan, train, evaluate, denoise, bundle and a pipeline.
Half of the kills happen at random times, half just before a file is written to disk, renamed or removed. All are
SIGKILL to the whole process group. Each attempt is a fork of a process that has everything imported.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tiny_data import TRAIN, TinyData, make_tiny_data, train

from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.run import main as run_command

SIMULATION = {"patients": 3, "slices": 2, "size": 32, "views": 24, "pixel_mm": 11.0}
UNSTABLE = {"log.txt", "tracking.json", "written.json"}
"""Files about one start of the program, not about its result, and the record with their digests."""
MEASURED = "README.md"
"""The model card, with times measured on this machine: compared without its numbers, and without its digest."""
STEPS = ((os, "fsync"), (Path, "replace"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree"))
"""Functions that change what is on disk."""
OWN = {".ctcycle"}
"""Hidden entries that are meant to stay: the records of outputs."""
_TIMES = re.compile(
    rb'"(seconds|started|finished|created|date|time|duration)[^"]*": [^,}\n]+|\d{4}-\d\d-\d\d[T ][\d:.+]*'
)


def configs(data: TinyData, model: Path, out: Path) -> dict[str, tuple[Mapping[str, Any], Path]]:
    """Return the config of each task, and the folder with its output."""
    simulate = {"task": "simulate", "workers": 1, "simulation": SIMULATION}
    low_dose = {
        "sources": [{"path": str(data.series / "sim000" / "full_dose")}],
        "dose_fraction": 0.25,
    }
    scan = {"task": "scan", "sources": [{"path": str(data.series)}]}
    trained = json.loads(json.dumps(TRAIN)) | {"method": "supervised"}
    trained["data"]["manifest"] = str(data.manifest)
    evaluate = {
        "task": "evaluate",
        "manifest": str(data.manifest),
        "methods": {"mine": str(model)},
        "filters": ["input"],
        "panels": 0,
        "benches": ["pairs"],
        "cache": str(out / "cache"),
    }
    denoise = {"task": "denoise", "model": str(model), "input": str(data.series), "device": "cpu", "residual": True}
    bundle = {"task": "bundle", "run": str(model), "bundle": str(out / "ct"), "formats": [], "fingerprint": True}
    steps = {"data": simulate, "list": {"task": "scan", "sources": [{"path": str(out / "data" / "series")}]}}
    return {
        "simulate": (simulate, out),
        "low dose": ({"task": "simulate", "workers": 1, "low_dose": low_dose}, out),
        "scan": (scan, out),
        "train": (trained, out),
        "evaluate": (evaluate, out),
        "denoise": (denoise, out),
        "bundle": (bundle, out / "ct"),
        "pipeline": ({"task": "pipeline", "steps": steps}, out),
    }


def comparable(file: Path, root: Path) -> bytes:
    """Return the content of a file, without times and the name of ``root``."""
    content = file.read_bytes()
    if file.suffix in {".json", ".jsonl", ".csv", ".yaml", ".md", ".html", ".txt", ""}:
        content = _TIMES.sub(b"", content.replace(os.fsencode(root), b"ROOT"))
    if file.name == MEASURED:
        return re.sub(rb"[\d.,]+", b"N", content)
    if file.name == "files.json":  # the digests of the files of a bundle
        return b"".join(line for line in content.splitlines() if MEASURED.encode() not in line)
    return content


def digest(folder: Path, root: Path) -> dict[str, str]:
    """Return a digest of what is `comparable` of each file below ``folder``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in UNSTABLE)
    return {str(file.relative_to(folder)): hashlib.sha256(comparable(file, root)).hexdigest() for file in files}


def before_each_step(act: Callable[[], object]) -> None:
    """Call ``act`` before each call of the functions in `STEPS` of this process."""

    def changed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        act()
        return function(*args, **kwargs)

    def method(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: changed(function, *args, **kwargs)

    for owner, name in STEPS:
        setattr(owner, name, method(getattr(owner, name)))


@dataclass
class Counter:
    """Counts calls; kills the process group before one of them.

    Attributes:
        kill_at: number of that call, from 1; 0 for none.
        count: the calls so far.
    """

    kill_at: int = 0
    count: int = 0

    def __call__(self) -> None:
        """Count a call."""
        self.count += 1
        if self.count == self.kill_at:
            os.killpg(0, signal.SIGKILL)


@dataclass(frozen=True)
class Kill:
    """When to kill: some seconds after the start, or before a step, whichever is set."""

    seconds: float = 0.0
    step: int = 0


def attempt(action: Callable[[], int], log: Path, kill: Kill | None = None, steps: Path | None = None) -> int | None:
    """Run ``action`` in a fork; return its exit code, or None if it was killed.

    Args:
        action: what to do.
        log: file for what it prints.
        kill: when to kill it.
        steps: file for the number of its steps.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        with log.open("a") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        counter = Counter(kill.step if kill else 0)
        before_each_step(counter)
        code = action()
        if steps is not None:
            steps.write_text(str(counter.count))
        os._exit(code)
    if kill is not None and kill.seconds:
        time.sleep(kill.seconds)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if code == -signal.SIGKILL else code


class Trial:
    """One task: an uninterrupted run, and runs that are killed.

    Args:
        name: name of the task in `configs`.
        data: the data set.
        model: a trained run.
        folder: an empty folder.
    """

    def __init__(self, name: str, data: TinyData, model: Path, folder: Path) -> None:
        self.name, self.data, self.model, self.folder = name, data, model, folder
        self.kills = 0
        self.run("warm_up")  # caches of libraries
        started = time.monotonic()
        self.whole = self.run("whole")
        self.seconds = time.monotonic() - started
        self.steps = int((folder / "steps").read_text())
        self.again = self.run("whole")

    def start(self, run: str, kill: Kill | None = None) -> int | None:
        """Start the task; return its exit code, or None if it was killed."""
        out = self.folder / run
        config, _ = configs(self.data, self.model, out)[self.name]
        path = self.folder / f"{run}.yaml"
        path.write_text(dump_yaml({"out": str(out), **config}))
        action = partial(run_command, ["--config", str(path)])
        return attempt(action, self.folder / f"{run}.log", kill, self.folder / "steps")

    def run(self, run: str) -> dict[str, str]:
        """Run the task to its end and return the digests of its output."""
        code = self.start(run)
        if code != 0:
            raise RuntimeError(f"{self.name}: exit code {code}\n{(self.folder / f'{run}.log').read_text()[-3000:]}")
        return self.output(run)

    def output(self, run: str) -> dict[str, str]:
        """Return the digests of what is in the output folder now."""
        _, output = configs(self.data, self.model, self.folder / run)[self.name]
        return digest(output, self.folder / run)

    def is_complete(self, run: str) -> bool:
        """Return whether the output is already that of an uninterrupted run, whatever else is there."""
        return self.whole.items() <= self.output(run).items()

    def survive(self, run: str, moments: random.Random) -> None:
        """Kill the task up to twice, run it to its end, and compare.

        A run that was complete when it was killed must end as one that is started twice.
        """
        kills = [Kill(seconds=moments.uniform(0.02, 1.0) * self.seconds), Kill(step=moments.randint(1, self.steps))]
        moments.shuffle(kills)
        for kill in kills:
            code = self.start(run, kill)
            if code not in {None, 0}:
                said = (self.folder / f"{run}.log").read_text()[-3000:]
                raise RuntimeError(f"{self.name}: exit code {code} after {kills}\n{said}")
            self.kills += code is None
            if self.is_complete(run):
                break
        expected = self.again if self.is_complete(run) else self.whole
        found = self.run(run)
        differ = {name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)}
        assert not differ, f"{self.name}: {sorted(differ)[:8]} differ after {kills}"
        left = [path for path in self.folder.rglob(".*") if path.name not in OWN]
        assert not left, f"{self.name}: {left[:5]} left behind after {kills}"
        shutil.rmtree(self.folder / run)


def main(arguments: list[str]) -> int:
    """Run the stress test from the command line; return 1 if a task failed it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kills", type=int, default=30, help="number of kills, at least two of each task (default: 30)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    parser.add_argument("--only", default="", help="name of the only task to kill")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as base:
        trials = start_trials(Path(base), given.only)
        failed = kill_all(trials, given.kills, random.Random(given.seed))  # noqa: S311 (not for secrets)
    kills = sum(trial.kills for trial in trials)
    equal = len(trials) - len(failed)
    print(f"{kills} kills over {len(trials)} tasks: {equal} tasks end as if uninterrupted, nothing left behind")
    return 1 if failed else 0


def start_trials(root: Path, only: str) -> list[Trial]:
    """Run each task without interruption, or only the named one."""
    data, model = make_tiny_data(root), root / "model"
    code = attempt(lambda: train(data, model, "supervised") and 0, root / "model.log")
    if code != 0:
        raise RuntimeError((root / "model.log").read_text()[-3000:])
    trials = []
    for name in [only] if only else configs(data, model, root):
        (root / name).mkdir()
        trials.append(Trial(name, data, model, root / name))
    return trials


def kill_all(trials: list[Trial], kills: int, moments: random.Random) -> set[str]:
    """Kill the tasks in turn; return the names of those that failed."""
    failed: set[str] = set()
    turn = 0
    while len(failed) < len(trials) and not _enough(trials, kills, failed):
        turn += 1
        for trial in (trial for trial in trials if trial.name not in failed):
            try:
                trial.survive(f"run{turn}", moments)
                print(f"{trial.name}: {trial.kills} kills survived", flush=True)
            except (AssertionError, RuntimeError) as error:
                failed.add(trial.name)
                print(f"FAULT {error}", flush=True)
    return failed


def _enough(trials: list[Trial], kills: int, failed: set[str]) -> bool:
    total = sum(trial.kills for trial in trials)
    return total >= kills and all(trial.kills >= 2 for trial in trials if trial.name not in failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
