"""The task `simulate`: CT of phantom patients, or the low dose of real full-dose series."""

import os
import shutil

from tqdm import tqdm

from ctcycle.config.schema import Simulate
from ctcycle.data.manifest import write_manifest
from ctcycle.data.scan import write_skipped
from ctcycle.runs.folder import RunFolder
from ctcycle.simulation.dataset import simulate_dataset
from ctcycle.simulation.low_dose import simulate_low_dose
from ctcycle.simulation.settings import LowDoseSettings
from ctcycle.tasks.job import Job


def run(config: Simulate, job: Job) -> str:
    """Simulate, and return a one-sentence summary."""
    if config.low_dose is not None:
        return _simulate_low_dose(config, config.low_dose, job.folder)
    out, patients = job.folder.path / "series", config.simulation.patients
    if config.overwrite and (out / "simulation.json").exists():
        shutil.rmtree(out)
    workers = min(config.workers or os.cpu_count() or 1, patients)
    with tqdm(total=patients, desc="simulating", unit="patient", dynamic_ncols=True) as bar:

        def report(done: int) -> None:
            bar.update(done - bar.n)

        simulate_dataset(out, config.simulation, config.seed, workers, report)
    return f"{patients} simulated patients, each at full and at low dose; -> {out}"


def _simulate_low_dose(config: Simulate, settings: LowDoseSettings, folder: RunFolder) -> str:
    out, manifest = folder.path / "series", folder.path / "manifest.csv"
    if config.overwrite:
        shutil.rmtree(out, ignore_errors=True)
    with tqdm(desc="simulating low dose", unit="series", dynamic_ncols=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        workers = config.workers or os.cpu_count() or 1
        report = simulate_low_dose(out, manifest, settings, config.seed, workers=workers, progress=progress)
    write_manifest(manifest, report.manifest)
    write_skipped(folder.path / "skipped.csv", report.skipped)
    skipped = f"; skipped {len(report.skipped)}, see {folder.path / 'skipped.csv'}" if report.skipped else ""
    patients = len(report.manifest.patients)
    return f"{report.low_dose} series of simulated low dose, {patients} patients{skipped}; -> {manifest}"
