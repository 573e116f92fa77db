"""The task `bundle`: a training run to a MONAI bundle."""

from ctcycle.bundle.export import export_bundle
from ctcycle.config.schema import Bundle
from ctcycle.tasks.job import Job


def run(config: Bundle, _job: Job) -> str:
    """Export the bundle, and return what was made, in one sentence."""
    return export_bundle(config)
