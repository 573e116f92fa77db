"""Runs the task of a config, or the steps of a pipeline, each in its own run folder."""

from importlib import import_module

from ctcycle.atomic import write_text
from ctcycle.config.loading import LoadedConfig
from ctcycle.config.schema import Pipeline, Step
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.runs.folder import RunFolder, flat
from ctcycle.runs.tracking import Tracker
from ctcycle.tasks.console import log_to, say
from ctcycle.tasks.job import Job


def run(loaded: LoadedConfig) -> None:
    """Run the task of a config, or the steps of a pipeline in order.

    Raises:
        CtcycleError: see `ctcycle.errors` for the kinds and their exit codes.
    """
    config = loaded.config
    if not isinstance(config, Pipeline):
        _run_step(config, Job(RunFolder(config.out), loaded.resolved, loaded.name))
        return
    write_text(config.out / "pipeline.yaml", dump_yaml(loaded.resolved))
    for number, (name, step) in enumerate(config.steps.items(), 1):
        say(f"[{number}/{len(config.steps)}] {name}: {step.task} -> {step.out}")
        _run_step(step, Job(RunFolder(step.out), loaded.resolved["steps"][name], f"{loaded.name}.{name}"))


def _run_step(config: Step, job: Job) -> None:
    fresh = config.overwrite or getattr(config, "resume", "auto") == "never"
    with job.folder.opened(job.resolved, overwrite=fresh) as state:
        if state == "finished" and not _may_have_more(config, job):
            _report_finished(config, job)
        else:
            _work(config, job, new=state == "new")


def _may_have_more(config: Step, job: Job) -> bool:
    """Return whether a finished task must look again: at new series, or at weights and slices that have changed."""
    if config.task == "evaluate":
        return not import_module("ctcycle.tasks.evaluate").is_current(config, job.folder)
    return config.task == "denoise"  # existing results are kept


def _report_finished(config: Step, job: Job) -> None:
    folder = job.folder
    if config.task == "train":
        with log_to(folder.log):
            Tracker(config.tracking, folder.path, job.name, flat(job.resolved)).send_rest()
    say(f"{config.out}: already finished; set overwrite=true to rerun")
    say(folder.summary() if config.task == "evaluate" else folder.summary().splitlines()[-1])


def _work(config: Step, job: Job, *, new: bool) -> None:
    try:
        with log_to(job.folder.log):
            text = import_module(f"ctcycle.tasks.{config.task}").run(config, job)
    except BaseException:  # including KeyboardInterrupt
        if new:
            job.folder.release()
        raise
    job.folder.finish(text)
    say(text)
