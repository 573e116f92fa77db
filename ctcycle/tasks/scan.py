"""The task `scan`: indexes folders of CT in a manifest."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from ctcycle.atomic import write_json
from ctcycle.config.schema import Scan
from ctcycle.data.manifest import manifest_text, write_manifest
from ctcycle.data.scan import FoundSeries, find_rows, scan_report, write_skipped
from ctcycle.data.scan_noise import Measured, measure, merged
from ctcycle.data.scan_summary import summary
from ctcycle.errors import OutputError, SeriesError
from ctcycle.inference.records import FOLDER
from ctcycle.runs import ranks
from ctcycle.runs.folder import RunFolder
from ctcycle.tasks.job import Job


def run(config: Scan, job: Job) -> str:
    """Index the sources, and return a summary of what was found. Ranks share the decoding of the series.

    Raises:
        OutputError: a manifest exists that a killed run of this scan did not write, or nothing can be written.
        CtcycleError: as for `ctcycle.data.scan.scan_sources`.
    """
    path = _manifest(config, job.folder)
    kept = path.exists() and not config.overwrite
    found = ranks.from_first(lambda: _find(config, job, path, kept=kept))
    measured = merged(ranks.from_all(_measure(found)), [row.series for row in found.rows])
    return ranks.from_first(lambda: _write(config, job, found, measured, path, kept=kept))


def _find(config: Scan, job: Job, path: Path, *, kept: bool) -> FoundSeries:
    if kept and not job.resumed:
        raise _edited(path)
    if not path.resolve().is_relative_to(job.folder.path.resolve()):
        job.folder.written.claim(path)
    with tqdm(desc="scanning", unit="file", dynamic_ncols=True) as bar:
        salt = os.environ.get("CTCYCLE_SALT", "")
        return find_rows(config.sources, path.parent, salt=salt, progress=lambda _path: bar.update())


def _measure(found: FoundSeries) -> Measured:
    """Decode the series that are this rank's."""
    mine = [row for number, row in enumerate(found.rows) if ranks.is_mine(number)]
    with tqdm(desc="decoding", unit="slice", dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return measure(mine, found.infos, progress)


def _write(config: Scan, job: Job, found: FoundSeries, measured: Measured, path: Path, *, kept: bool) -> str:
    report = scan_report(found, measured, config.sources, path, config.split)
    if kept and path.read_bytes() != manifest_text(path, report.manifest).encode():
        raise _edited(path)
    write_json(_record(job.folder), report.found)
    write_manifest(path, report.manifest)
    skipped = job.folder.path / "skipped.csv"
    write_skipped(skipped, report.skipped)
    listed = f"all skipped files: {skipped}\n" if report.skipped else ""
    return f"{summary(report)}{listed}\n-> {path}"


def is_current(config: Scan, folder: RunFolder) -> bool:
    """Return whether the manifest exists.

    Raises:
        SeriesError: series were added, removed or changed in size since; the manifest may have been edited, so only
            the user can decide what to do.
        CtcycleError: as for `ctcycle.data.scan.find_rows`.
    """
    path = _manifest(config, folder)
    if not path.exists():
        return False
    before = _read_record(folder)
    now = find_rows(config.sources, path.parent, salt=os.environ.get("CTCYCLE_SALT", "")).sizes
    if before is not None and (changes := _changes(before, now)):
        raise SeriesError(
            f"{config.sources[0].path}: {changes} since {path} was written; set overwrite=true to scan again, or "
            "choose another `out`"
        )
    return True


def _manifest(config: Scan, folder: RunFolder) -> Path:
    return config.manifest or folder.manifest


def _record(folder: RunFolder) -> Path:
    """Return the file with the series that a scan found."""
    return folder.path / FOLDER / "found.json"


def _read_record(folder: RunFolder) -> dict[str, list[int]] | None:
    """Return the series that a scan found; None if an earlier version scanned, or the file is damaged."""
    try:
        return dict(json.loads(_record(folder).read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _changes(before: Mapping[str, list[int]], now: Mapping[str, list[int]]) -> str:
    """Return how many series were added, removed and changed, as text; empty if none."""
    counts = {
        "added": len(now.keys() - before.keys()),
        "removed": len(before.keys() - now.keys()),
        "changed": sum(before[name] != now[name] for name in now.keys() & before.keys()),
    }
    return ", ".join(f"{count} series {what}" for what, count in counts.items() if count)


def _edited(path: Path) -> OutputError:
    return OutputError(f"{path}: already exists and may have been edited; choose another `out`, or set overwrite=true")
