"""The task `train`: a training run from its config."""

from ctcycle.config.schema import AnyTrain
from ctcycle.tasks.job import Job
from ctcycle.training.trainer import TrainingRun


def run(config: AnyTrain, job: Job) -> str:
    """Train, and return what was reached, in one sentence."""
    best = TrainingRun(config, job.folder, job.name, job.resolved).run()
    scores = f"best epoch {best['epoch']}: {best['val/psnr']:.2f} dB PSNR" if best else "no validation pairs"
    protocol = f", protocol {config.validation.protocol}, on validation slices" if best else ""
    return f"{config.method} trained; {scores}{protocol}; -> {job.folder.path}"
