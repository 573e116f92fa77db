"""Runs the task of a config, or the steps of a pipeline, each in its own run folder."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ctcycle.atomic import write_text
from ctcycle.config.loading import LoadedConfig
from ctcycle.config.schema import Pipeline, Simulate, Step
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.config.tasks.node import Serve
from ctcycle.errors import ConfigError
from ctcycle.runs import ranks
from ctcycle.runs.folder import RunFolder, flat
from ctcycle.runs.launch import launch
from ctcycle.runs.tracking import Tracker, tracking_uri
from ctcycle.runs.written import WrittenFiles
from ctcycle.tasks.experiments.models import with_local_models
from ctcycle.tasks.job import Job
from ctcycle.tasks.terminal.console import log_to, say
from ctcycle.tasks.terminal.next_step import next_command

_HOMES = {
    "register": "experiments.register",
    "sweep": "experiments.sweep",
    "inspect": "pages.inspect",
    "view": "pages.view",
}
"""Modules of tasks that are not named after them, in this package."""


def run(loaded: LoadedConfig) -> None:
    """Run the task of a config, or the steps of a pipeline in order.

    Raises:
        CtcycleError: see `ctcycle.errors` for the kinds and their exit codes.
    """
    config = loaded.config
    if launch().several:
        _check_runs_on_ranks(config)
    with ranks.joined(getattr(config, "device", "auto")):
        _run(loaded)


def _check_runs_on_ranks(config: Step | Serve | Pipeline) -> None:
    shared = config.task in {"train", "denoise", "scan", "evaluate"}
    if not (shared or (isinstance(config, Simulate) and config.low_dose is not None)):
        raise ConfigError(
            f"task={config.task}: runs in one process, and {launch().world} were started; start it without "
            "torchrun or srun (only train, denoise, scan, evaluate and simulate with low_dose run on several ranks)"
        )


def _run(loaded: LoadedConfig) -> None:
    config = loaded.config
    if isinstance(config, Serve):
        import_module("ctcycle.tasks.serve").run(config)
        return
    if not isinstance(config, Pipeline):
        run_step(config, Job(RunFolder(config.out), loaded.resolved, loaded.name))
        if ranks.is_first() and (command := next_command(config)):
            say(f"next: {command}")
        return
    description, log, written = config.out / "pipeline.yaml", config.out / "log.txt", WrittenFiles(config.out)
    with written.recording():
        written.claim(description, log, config.out / "tracking_events.jsonl")
        write_text(description, dump_yaml(loaded.resolved))
        _run_steps(config, loaded, log)


def _run_steps(config: Pipeline, loaded: LoadedConfig, log: Path) -> None:
    with log_to(log), _parent(config, loaded):
        for number, (name, step) in enumerate(config.steps.items(), 1):
            say(f"[{number}/{len(config.steps)}] {name}: {step.task} -> {step.out}")
            run_step(
                step,
                Job(RunFolder(step.out), loaded.resolved["steps"][name], f"{loaded.name}.{name}", parent=config.out),
            )


@contextmanager
def _parent(config: Pipeline, loaded: LoadedConfig) -> Iterator[None]:
    """Track the pipeline as the parent of its training steps, in the store of the first; not at all without one."""
    steps = [step for step in config.steps.values() if step.task == "train" and step.tracking.enabled]
    if all((step.out / "finished").exists() for step in steps):  # also without steps
        yield
        return
    settings = steps[0].tracking.model_copy(update={"uri": tracking_uri(steps[0].tracking, steps[0].out)})
    tracker = Tracker(
        settings, config.out, settings.name or loaded.name, flat({"task": "pipeline", "seed": config.seed})
    )
    listed = "\n".join(f"{number}. {name}: {step.task}" for number, (name, step) in enumerate(config.steps.items(), 1))
    with tracker.open():
        tracker.describe(f"Pipeline of {len(config.steps)} steps:\n\n{listed}")
        tracker.artifact(config.out / "pipeline.yaml")
        yield


def run_step(config: Step, job: Job) -> None:
    """Run one task in its folder, unless it is finished.

    Raises:
        CtcycleError: as for `run`.
    """
    config = with_local_models(config)
    fresh = config.overwrite or getattr(config, "resume", "auto") == "never"
    with ranks.opened_by_first(lambda: job.folder.opened(job.resolved, overwrite=fresh)) as state:
        if state == "finished" and not _may_have_more(config, job):
            _report_finished(config, job)
        else:
            _work(config, replace(job, resumed=state == "begun"), new=state == "new")


def _may_have_more(config: Step, job: Job) -> bool:
    """Return whether a finished task must look again: at new series, changed weights and slices, missing results.

    A task without `is_current` always does; it keeps results that are up to date, or quickly makes them again.

    Raises:
        CtcycleError: the results belong to other inputs than there are now, and only the user can decide what to do.
    """
    is_current = getattr(task_module(config.task), "is_current", None)
    return is_current is None or not is_current(config, job.folder)


def _report_finished(config: Step, job: Job) -> None:
    folder = job.folder
    if config.task == "train" and ranks.is_first():
        with log_to(folder.log):
            Tracker(config.tracking, folder.path, job.name, flat(job.resolved)).send_rest()
    say(f"{config.out}: already finished; set overwrite=true to rerun")  # the folder itself stays as it is
    say(folder.summary() if config.task == "evaluate" else folder.summary().splitlines()[-1])


def task_module(task: str) -> ModuleType:
    """Return the module that runs a task."""
    return import_module(f"ctcycle.tasks.{_HOMES.get(task, task)}")


def _work(config: Step, job: Job, *, new: bool) -> None:
    try:
        if ranks.is_first():
            job.folder.written.begin()
        with log_to(job.folder.log) if ranks.is_first() else nullcontext():
            text = task_module(config.task).run(config, job)
            ranks.only_first(job.folder.finish, text)
            say(text)
    except BaseException:  # including KeyboardInterrupt
        if new:
            ranks.only_first(job.folder.release)
        raise
