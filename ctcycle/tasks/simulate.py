"""The task `simulate`: CT of phantom patients, or the low dose of real full-dose series."""

from pathlib import Path

from tqdm import tqdm

from ctcycle.config.schema import Simulate
from ctcycle.data.manifest import write_manifest
from ctcycle.data.scan import write_skipped
from ctcycle.inference.records import OutputRecords
from ctcycle.runs import ranks
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.launch import launch
from ctcycle.simulation.dataset import patient_folders, simulate_dataset
from ctcycle.simulation.low_dose import LowDoseReport, has_all, simulate_low_dose
from ctcycle.simulation.processes import available_cores
from ctcycle.simulation.settings import LowDoseSettings
from ctcycle.tasks.job import Job


def run(config: Simulate, job: Job) -> str:
    """Simulate, and return a one-sentence summary."""
    if config.low_dose is not None:
        return _simulate_low_dose(config, config.low_dose, job.folder)
    out, patients = job.folder.path / "series", config.simulation.patients
    if config.overwrite:
        OutputRecords(out).clear()
    workers = min(config.workers or available_cores(), patients)
    with tqdm(total=patients, desc="simulating", unit="patient", dynamic_ncols=True) as bar:

        def report(done: int) -> None:
            bar.update(done - bar.n)

        simulate_dataset(out, config.simulation, config.seed, workers, report)
    return f"{patients} simulated patients, each at full and at low dose; -> {out}"


def is_current(config: Simulate, folder: RunFolder) -> bool:
    """Return whether a finished task has all its series; of simulated low dose, those of the present scans.

    Raises:
        SeriesError: scans have changed since their low dose was made.
        CtcycleError: as for `ctcycle.simulation.low_dose.has_all`.
    """
    out = folder.path / "series"
    if config.low_dose is None:
        return all(patient.exists() for patient in patient_folders(out, config.simulation.patients))
    return folder.manifest.exists() and has_all(out, folder.manifest, config.low_dose, config.seed)


def _simulate_low_dose(config: Simulate, settings: LowDoseSettings, folder: RunFolder) -> str:
    out, manifest, listing = folder.path / "series", folder.manifest, folder.path / "skipped.csv"
    folder.written.claim(manifest, listing)  # before hours of work: they may have been edited
    if config.overwrite:
        ranks.from_first(OutputRecords(out).clear)
    with tqdm(desc="simulating low dose", unit="series", dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        workers = config.workers or max(1, available_cores() // launch().local_world)
        report = simulate_low_dose(
            *(out, manifest, settings, config.seed), workers=workers, progress=progress, sharing=ranks
        )
    return ranks.from_first(lambda: _write(report, manifest, listing))


def _write(report: LowDoseReport, manifest: Path, listing: Path) -> str:
    write_manifest(manifest, report.manifest)
    write_skipped(listing, report.skipped)
    skipped = f"; skipped {len(report.skipped)}, see {listing}" if report.skipped else ""
    patients = len(report.manifest.patients)
    return f"{report.low_dose} series of simulated low dose, {patients} patients{skipped}; -> {manifest}"
