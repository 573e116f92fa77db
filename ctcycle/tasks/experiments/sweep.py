"""The task `sweep`: trains one config with many values of some of its keys, and compares the results."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from ctcycle.atomic import write_text
from ctcycle.config.loading import LoadedConfig, load_config, task_of
from ctcycle.config.schema import Step
from ctcycle.config.shipped import find_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.config.tasks.experiments import Sweep
from ctcycle.errors import ConfigError, DivergedError, StoppedError
from ctcycle.runs.folder import RunFolder, flat
from ctcycle.runs.tracking import Tracker, tracking_uri
from ctcycle.tasks import running
from ctcycle.tasks.experiments.search import check_optuna, count, draw, is_behind, planned
from ctcycle.tasks.experiments.table import format_trials, named, write_tables
from ctcycle.tasks.experiments.trials import Trial, TrialFile, Values, best_trial, read_curve
from ctcycle.tasks.job import Job
from ctcycle.tasks.terminal.console import say
from ctcycle.training.handlers.events import TrainingEvents, register

_TRIALS = "trials.json"


class _PrunedError(StoppedError):
    """A trial was ended early."""


def run(config: Sweep, job: Job) -> str:
    """Train all trials that are not ended yet, and write ``trials.csv``, ``trials.txt``, ``trials.png``, ``best.yaml``.

    Returns:
        The table of trials, and the command that trains with the best values.

    Raises:
        ConfigError: the training config or a value is invalid, or Optuna is not installed.
        DivergedError: every trial failed.
        StoppedError: a signal stopped a trial; run the sweep again to resume.
        CtcycleError: the data or the output cannot be used.
    """
    _check(config)
    file = TrialFile(config.out / _TRIALS)
    tracker = _tracker(config, job)
    with tracker.open():
        tracker.describe(_description(config))
        tracker.artifact(job.folder.config)
        for number in range(1, count(config) + 1):
            trial = file.get(number) or Trial(number, _values(config, file.trials, number))
            if trial.state == "begun":
                file.save(trial)
                file.save(_train(config, job, trial, file))
                _log(tracker, file.trials, number)
        return _finish(config, file.trials, tracker)


def is_current(config: Sweep, _folder: RunFolder) -> bool:
    """Return whether a finished sweep has all its trials; their number may have been increased."""
    known = TrialFile(config.out / _TRIALS)
    return all(known.get(number) is not None for number in range(1, count(config) + 1))


def _check(config: Sweep) -> None:
    """Check the training config with the values of every trial that is known before."""
    if config.search == "optuna" or config.prune.enabled:
        check_optuna()
    task = task_of(find_config(config.train))
    if task not in {"train", None}:  # without a task, loading it says so, and where
        raise ConfigError(f"{config.train}: is a config of task '{task}'; a sweep needs one of task train")
    every = planned(config)
    for number, values in enumerate([draw(config, ())] if every is None else every, 1):
        _load(config, Trial(number, values))


def _values(config: Sweep, earlier: Sequence[Trial], number: int) -> Values:
    every = planned(config)
    return draw(config, earlier) if every is None else every[number - 1]


def _load(config: Sweep, trial: Trial) -> LoadedConfig:
    """Return the training config of a trial.

    Raises:
        ConfigError: it is invalid.
    """
    own = {
        "out": (config.out / trial.name).as_posix(),
        "tracking.enabled": config.tracking.enabled,
        "tracking.uri": tracking_uri(config.tracking, config.out),
        "tracking.experiment": config.tracking.experiment,
        "tracking.name": f"{config.out.name} {trial.number:03d}: {named(trial.values)}",
    }
    wanted = {**config.set, **trial.values, **own}
    overrides = [f"{key}={json.dumps(value)}" for key, value in wanted.items() if value is not None]
    return load_config(find_config(config.train), overrides)


def _train(config: Sweep, job: Job, trial: Trial, file: TrialFile) -> Trial:
    """Train or resume one trial, and return it with its scores."""
    loaded = _load(config, trial)
    step: Any = loaded.config
    say(f"[{trial.number}/{count(config)}] {named(trial.values)} -> {step.out}")
    scored = _scored(config, step, trial)
    observe = _pruning(config, scored, file) if config.prune.enabled else None
    folder = RunFolder(step.out)
    task = Job(folder, loaded.resolved, f"{job.name} {trial.number}", parent=config.out, observe=observe)
    try:
        running.run_step(step, task)
    except _PrunedError as error:
        return replace(scored(), state="pruned", reason=str(error))
    except (DivergedError, ConfigError) as error:
        say(str(error))
        return replace(scored(), state="failed", reason=str(error).splitlines()[0])
    found = scored()
    if not found.curve:
        return replace(found, state="failed", reason=f"has no score {config.score}; see the description of `score`")
    return replace(found, state="finished")


def _scored(config: Sweep, step: Step, trial: Trial) -> Callable[[], Trial]:
    """Return a function that reads the scores of a trial so far."""
    kept = getattr(step, "training").keep  # noqa: B009 (a training config has it)

    def read() -> Trial:
        key, curve = read_curve(step.out, config.score)
        return replace(trial, key=key, curve=curve, kept=kept)

    return read


def _pruning(config: Sweep, scored: Callable[[], Trial], file: TrialFile) -> Callable[[Engine], None]:
    """Return what ends a trial after an epoch at which it is behind the others."""

    def check(engine: Engine) -> None:
        trial, epoch = scored(), engine.state.epoch
        earlier = [one for one in file.trials if one.number < trial.number]
        if epoch in trial.curve and epoch < (engine.state.max_epochs or 0) and is_behind(config, earlier, trial):
            raise _PrunedError(
                f"ended early after epoch {epoch}: {trial.key} is worse than the median of the others", 0
            )

    def attach(engine: Engine) -> None:
        register(engine)
        for event in (TrainingEvents.VALIDATED, TrainingEvents.MEASURED):
            engine.add_event_handler(event, check)

    return attach


def _tracker(config: Sweep, job: Job) -> Tracker:
    name = config.tracking.name or config.out.resolve().name
    return Tracker(config.tracking, config.out, name, flat(job.resolved), job.parent)


def _description(config: Sweep) -> str:
    lines = "\n".join(f"- {key}: {_shown(values)}" for key, values in config.vary.items())
    own = f"{config.tracking.description}\n\n" if config.tracking.description else ""
    return f"{own}Sweep over `{config.train}`, {config.search}, {count(config)} trials:\n\n{lines}"


def _shown(values: Any) -> str:
    return ", ".join(str(value) for value in values) if isinstance(values, list) else str(values)


def _log(tracker: Tracker, trials: Sequence[Trial], number: int) -> None:
    best = best_trial(trials)
    latest = next(trial for trial in trials if trial.number == number)
    found = {"sweep/score": latest.score, "sweep/best_score": best.score if best else None}
    known = {key: value for key, value in found.items() if value is not None}
    if known:
        tracker.metrics(known, number)


def _finish(config: Sweep, trials: Sequence[Trial], tracker: Tracker) -> str:
    paths = write_tables(config.out, trials, list(config.vary))
    best = best_trial(trials)
    if best is None:
        raise DivergedError(f"{config.out}: every trial failed; the first: {trials[0].reason}")
    again = config.out / "best.yaml"
    write_text(again, _best_config(config, best))
    for path in (*paths, again):
        tracker.artifact(path)
    tracker.describe(f"**best: {named(best.values)}, {best.key} {best.score:.4g}**\n\n{_description(config)}")
    return "\n".join(
        [
            format_trials(trials, list(config.vary)),
            f"best: trial {best.number}, {named(best.values)}; {best.key} {best.score:.4g} at epoch {best.epoch}",
            *(f"-> {path}" for path in paths),
            f"-> python -m ctcycle.run --config {again}",
        ]
    )


def _best_config(config: Sweep, best: Trial) -> str:
    """Return a config that trains with the best values, to a folder of its own."""
    resolved = dict(_load(config, best).resolved)
    resolved["out"] = (config.out / "best").as_posix()
    resolved["tracking"] = {**resolved["tracking"], "name": None}
    head = f"# The best trial of {Path(config.out).name}: {named(best.values)}\n"
    return head + dump_yaml(resolved)
