"""The task `bundle`: exports a training run as a MONAI bundle."""

from ctcycle.bundle.export import BundlePlan, export_bundle, exported, has_weights_of
from ctcycle.config.schema import Bundle
from ctcycle.errors import OutputError
from ctcycle.runs.folder import RunFolder
from ctcycle.tasks.job import Job


def run(config: Bundle, job: Job) -> str:
    """Export the bundle, and return a one-sentence summary."""
    plan = _plan(config)
    if job.resumed and is_current(config, job.folder):  # killed when the bundle was complete
        return exported(plan)
    return export_bundle(plan)


def _plan(config: Bundle) -> BundlePlan:
    return BundlePlan(
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


def is_current(config: Bundle, _folder: RunFolder) -> bool:
    """Return whether the bundle exists.

    Raises:
        OutputError: it has other weights than the run has now.
        BundleError: run or bundle are damaged.
    """
    if not config.bundle.exists():
        return False
    if not has_weights_of(config.bundle, config.run, config.checkpoint):
        raise OutputError(
            f"{config.bundle}: was exported from other weights than {config.run} has now; choose another `bundle`, or "
            "set overwrite=true"
        )
    return True
