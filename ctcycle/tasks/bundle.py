"""The task `bundle`: exports a training run as a MONAI bundle."""

from ctcycle.bundle.export import BundlePlan, export_bundle
from ctcycle.config.schema import Bundle
from ctcycle.tasks.job import Job


def run(config: Bundle, _job: Job) -> str:
    """Export the bundle, and return a one-sentence summary."""
    plan = BundlePlan(
        run=config.run,
        bundle=config.bundle,
        checkpoint=config.checkpoint,
        formats=config.formats,
        results=config.results,
        average_flips=config.average_flips,
        fingerprint=config.fingerprint,
        version=config.version,
        changes=config.changelog,
        card=config.card,
        overwrite=config.overwrite,
    )
    return export_bundle(plan)
