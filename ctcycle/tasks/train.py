"""The task `train`: trains a denoiser."""

from ctcycle.config.schema import AnyTrain
from ctcycle.tasks.job import Job
from ctcycle.training.trainer import TrainingRun


def run(config: AnyTrain, job: Job) -> str:
    """Train, and return a one-sentence summary."""
    best = TrainingRun(config, job.folder, job.name, job.resolved).run()
    scores = f"best epoch {best['epoch']}: {best['val/psnr']:.2f} dB PSNR" if best else "no validation pairs"
    protocol = f" on validation slices, protocol {config.validation.protocol}" if best else ""
    return f"{config.method} trained; {scores}{protocol}; -> {job.folder.path}"
