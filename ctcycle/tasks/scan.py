"""The task `scan`: indexes folders of CT in a manifest."""

import os

from tqdm import tqdm

from ctcycle.config.schema import Scan
from ctcycle.data.manifest import write_manifest
from ctcycle.data.scan import scan_sources, write_skipped
from ctcycle.data.scan_summary import summary
from ctcycle.errors import OutputError
from ctcycle.tasks.job import Job


def run(config: Scan, job: Job) -> str:
    """Index the sources, and return a summary of what was found."""
    path = config.manifest or job.folder.path / "manifest.csv"
    if path.exists() and not config.overwrite:
        raise OutputError(
            f"{path}: already exists and may have been edited; choose another `out`, or set overwrite=true"
        )
    with tqdm(desc="scanning", unit="file", dynamic_ncols=True) as bar:
        salt = os.environ.get("CTCYCLE_SALT", "")
        report = scan_sources(config.sources, path, config.split, salt=salt, progress=lambda _path: bar.update())
    write_manifest(path, report.manifest)
    skipped = job.folder.path / "skipped.csv"
    write_skipped(skipped, report.skipped)
    listed = f"all skipped files: {skipped}\n" if report.skipped else ""
    return f"{summary(report)}{listed}\n-> {path}"
