"""The task `train`: trains a denoiser."""

from ctcycle.config.schema import AnyTrain
from ctcycle.errors import OutputError
from ctcycle.inspection.brief import brief
from ctcycle.runs import ranks
from ctcycle.runs.folder import RunFolder
from ctcycle.tasks.job import Job
from ctcycle.tasks.terminal.console import say
from ctcycle.training.monitor.description import outcome
from ctcycle.training.trainer import TrainingRun


def run(config: AnyTrain, job: Job) -> str:
    """Print what will be trained on, train, and return a one-sentence summary."""
    if ranks.is_first() and not job.resumed:
        data = config.data
        for line in brief(data.manifest, data.kernel, mu_water=data.mu_water, mu_air=data.mu_air):
            say(line)
    best = TrainingRun(config, job.folder, job.name, job.resolved, job.parent, job.observe).run()
    return f"{config.method} trained; {outcome(best, config.validation.protocol)}; -> {job.folder.path}"


def is_current(config: AnyTrain, folder: RunFolder) -> bool:
    """Return True: a finished run stays as it is.

    Raises:
        OutputError: its weights are missing.
    """
    weights = folder.checkpoints / f"{config.training.keep}.pt"
    if not weights.exists():
        raise OutputError(f"{weights}: is missing, although the run is finished; restore it, or set overwrite=true")
    return True
