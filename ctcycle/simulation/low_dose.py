"""Simulates low dose of real full-dose series, to make training pairs from scans at a single dose."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle import __version__
from ctcycle.ct.series import SeriesInfo, Skipped, series_uid, source_digest
from ctcycle.ct.series_io import Derivation, find_series, read_series, write_corrected
from ctcycle.data.manifest import Manifest, ManifestRow, series_name, stored_path
from ctcycle.data.scan import FoundSeries, find_rows
from ctcycle.data.splits import assign_splits
from ctcycle.errors import SeriesError
from ctcycle.inference.records import Making, OutputRecords, refuse_other_source
from ctcycle.inference.sharing import Alone, Sharing
from ctcycle.simulation.low_dose_noise import LowerDose, added_noise, line_integrals
from ctcycle.simulation.processes import share_out
from ctcycle.simulation.reconstruction import sharpen
from ctcycle.simulation.settings import KERNELS, Kernel, LowDoseSettings, Range, span

_ALONE = Alone()
_SQUARE = 1e-3
"""Largest relative difference between the sides of a square pixel."""


@dataclass(frozen=True)
class LowDoseReport:
    """The result of a low-dose simulation.

    Attributes:
        manifest: simulated low-dose series and their full-dose series; not written yet.
        skipped: series for which no low dose was simulated, and why.
        low_dose: number of simulated low-dose series.
    """

    manifest: Manifest
    skipped: tuple[Skipped, ...]
    low_dose: int


@dataclass(frozen=True)
class _Job:
    """A series and the folder for its simulated low dose."""

    row: ManifestRow
    info: SeriesInfo
    folder: Path


def simulate_low_dose(
    folder: Path,
    manifest: Path,
    settings: LowDoseSettings,
    seed: int,
    *,
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
    sharing: Sharing = _ALONE,
) -> LowDoseReport:
    """Simulate low dose of every full-dose series in the sources and write it in the format of the series.

    The folder of each series is written atomically and is skipped if it already exists. Only one run at a time may
    write to ``folder``.

    Args:
        folder: new, or written by an earlier call with the same settings and seed.
        manifest: future path of the manifest.
        settings: the scans, and how to simulate low dose.
        seed: non-negative; the same seed and settings give the same pixels for any number of workers.
        workers: number of processes; 1 uses the current process.
        progress: called with the numbers of finished and of all series, once at the start and after each series.
        sharing: the processes that share the series; by default this one simulates all.

    Returns:
        The manifest and the skipped series, with the reasons.

    Raises:
        SeriesError: there is no full-dose series, none can be projected, or one has changed since its low dose was
            made.
        ConfigError: ``folder`` holds low dose of other settings.
        OutputError: the low dose cannot be written.
        CtcycleError: a worker process died.
    """
    manifest.parent.mkdir(parents=True, exist_ok=True)
    found = sharing.from_first(lambda: find_rows(settings.sources, manifest.parent))
    jobs, skipped = sharing.from_first(lambda: _plan(found, folder))
    records, report = OutputRecords(folder), progress or (lambda _done, _all: None)
    with sharing.opened_by_first(records.opened):
        missing = sharing.from_first(lambda: _missing(jobs, records, _made_with(settings, seed)))
        mine = [job for number, job in enumerate(missing) if sharing.is_mine(number)]
        known, refused = len(jobs) - len(missing), []
        report(known, known + len(mine))
        made = share_out(partial(_make, records, settings, seed), mine, workers)
        for done, (job, problem) in enumerate(made, known + 1):
            refused += [Skipped(job.info.path, problem)] if problem else []
            report(done, known + len(mine))
        skipped += [item for part in sharing.from_all(refused) for item in part]
    rows = [row for job in jobs if job.folder.exists() for row in _rows(job, manifest.parent, settings, seed)]
    if not rows:
        reasons = "; ".join(f"{item.path}: {item.reason}" for item in skipped[:3])
        raise SeriesError(
            f"low_dose.sources: no series is usable for low-dose simulation ({reasons or 'all are low dose'}); "
            "add full-dose series with known, square pixels"
        )
    split = assign_splits(rows, settings.split)
    low_dose = sum(row.dose == "low_dose" for row in split)
    return LowDoseReport(Manifest(manifest, tuple(split)), (*found.skipped, *skipped), low_dose)


def has_all(folder: Path, manifest: Path, settings: LowDoseSettings, seed: int) -> bool:
    """Return whether ``folder`` holds the low dose of every series that the sources have now.

    Args and raises: as for `simulate_low_dose`; nothing is written.
    """
    jobs, _skipped = _plan(find_rows(settings.sources, manifest.parent), folder)
    records = OutputRecords(folder)
    return not any(_is_missing(job, records, _made_with(settings, seed)) for job in jobs)


def _missing(jobs: Sequence[_Job], records: OutputRecords, options: Mapping[str, Any]) -> list[_Job]:
    """Return the series whose low dose is still to be made; other outputs in the folder must have the same options."""
    records.check([job.folder for job in jobs], options, overwrite=False)
    return [job for job in jobs if _is_missing(job, records, options)]


def _plan(found: FoundSeries, folder: Path) -> tuple[list[_Job], list[Skipped]]:
    """Return the series to simulate low dose of, and those that cannot be projected."""
    jobs, skipped = [], []
    for row in found.rows:
        if row.dose == "low_dose":
            continue
        info = found.infos[row.series]
        if problem := _unfit(info):
            skipped.append(Skipped(info.path, problem))
        else:
            jobs.append(_Job(row, info, folder / row.series))
    return jobs, skipped


def _made_with(settings: LowDoseSettings, seed: int) -> dict[str, Any]:
    """Return what the low dose of all series is made with, as read from JSON."""
    ours = {key: value for key, value in asdict(settings).items() if key not in {"sources", "split"}}
    made: dict[str, Any] = json.loads(json.dumps({**ours, "seed": seed, "ctcycle": __version__}))
    return made


def _made_from(job: _Job) -> dict[str, Any]:
    return {"files": source_digest(job.info), "slice_axis": job.info.slice_axis}


def _is_missing(job: _Job, records: OutputRecords, options: Mapping[str, Any]) -> bool:
    """Return whether the low dose of a series is still to be made.

    Raises:
        SeriesError: it was made from other files.
        OutputError: its folder exists, and was not written by this function or was changed.
    """
    if not job.folder.exists():
        return True
    if records.state(job.folder, Making(options, _made_from(job))) == "other source":
        raise refuse_other_source(job.info.path, job.folder)
    return False


def _unfit(info: SeriesInfo) -> str | None:
    _, rows_mm, columns_mm = info.spacing_mm
    if not rows_mm > 0:
        return "unknown pixel spacing, so it cannot be projected; use DICOM or NIfTI, which record it"
    if abs(rows_mm / columns_mm - 1) > _SQUARE:
        return f"pixels of {rows_mm:g} x {columns_mm:g} mm are not square; only square pixels can be projected"
    return None


def _make(records: OutputRecords, settings: LowDoseSettings, seed: int, job: _Job) -> str | None:
    """Write the simulated low dose of a series to its folder, or return the reason if this is not possible."""
    try:
        making = Making(_made_with(settings, seed), _made_from(job))
        with records.writing(job.folder, making) as folder:
            _write_copies(settings, seed, job, folder)
    except SeriesError as error:
        return str(error).removeprefix(f"{job.info.path}: ")
    return None


def _write_copies(settings: LowDoseSettings, seed: int, job: _Job, folder: Path) -> None:
    scan, pixel_mm = read_series(job.info).hu, job.info.spacing_mm[1]
    rays = line_integrals(scan, pixel_mm, settings.views)
    for kernel, copies in _copies(settings).items():
        change = np.zeros_like(scan)
        if _sharpens(settings, kernel):
            change = np.stack([sharpen(image, kernel, settings.scan_kernel, pixel_mm) - image for image in scan])
            _write(job.info, change, folder / _name(job.info, f"full_dose_{kernel}"), f"sharpened to {kernel}")
        for copy in copies:
            number, dose = _dose(settings, job.row, kernel, seed, copy)
            noise = added_noise(scan + change, rays, pixel_mm, dose, number)
            level = f"{dose.noise_hu:.3g} HU of noise added" if dose.noise_hu else f"{dose.fraction:.3g} of the dose"
            target = folder / _name(job.info, f"low_dose_{kernel}_{copy}")
            _write(
                job.info, change + noise, target, f"low dose simulated in the projections, {level}, {kernel}", number
            )


def _copies(settings: LowDoseSettings) -> dict[Kernel, list[int]]:
    """Return the numbers of the copies made with each kernel."""
    copies: dict[Kernel, list[int]] = defaultdict(list)
    for number in range(settings.copies):
        copies[settings.kernels[number % len(settings.kernels)]].append(number)
    return copies


def _sharpens(settings: LowDoseSettings, kernel: Kernel) -> bool:
    return settings.sharpen and KERNELS.index(kernel) > KERNELS.index(settings.scan_kernel)


def _write(info: SeriesInfo, change: NDArray[np.float32], target: Path, what: str, seed: int = 0) -> None:
    """Write a simulated series; the seed makes the UIDs of copies with equal descriptions differ."""
    made = Derivation(__version__, "low-dose simulation", "none", f"Made for training: {what}.", kind="simulated")
    derivation = replace(made, settings=str(seed))
    write_corrected(info, change, target, derivation)


def _dose(settings: LowDoseSettings, row: ManifestRow, kernel: Kernel, seed: int, copy: int) -> tuple[int, LowerDose]:
    """Return the seed and dose of a copy, as pure functions of seed, series and copy."""
    number = int(np.random.SeedSequence([seed, _series_number(row), copy]).generate_state(1, np.uint64)[0])
    rng = np.random.default_rng([number, 1])
    fraction = _draw(settings.dose_fraction, rng)
    noise = None if settings.noise_hu is None else _draw(settings.noise_hu, rng)
    return number, LowerDose(fraction, kernel, noise, settings.photons, settings.electronic_noise)


def _series_number(row: ManifestRow) -> int:
    """Return the series' hashed UID, which does not depend on its location; without one, its hashed path."""
    hexadecimal = row.uid if re.fullmatch(r"[0-9a-f]{16}", row.uid) else row.series
    return int(hexadecimal, 16)


def _draw(values: Range, rng: np.random.Generator) -> float:
    low, high = span(values)
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _name(info: SeriesInfo, name: str) -> str:
    """Return the name of a folder, or of a file if the series is a single file."""
    if info.format == "dicom":
        return name
    return name + "".join(
        info.path.suffixes[-2:] if info.path.name.lower().endswith(".gz") else info.path.suffixes[-1:]
    )


def _rows(job: _Job, root: Path, settings: LowDoseSettings, seed: int) -> list[ManifestRow]:
    """Return the manifest rows of a series: its simulated low dose and the matching full dose."""
    rows = []
    for info in find_series(job.folder, slice_axis=job.row.slice_axis)[0]:
        dose, _, kernel_and_copy = info.path.name.partition("_dose_")
        name, _, copy = kernel_and_copy.partition(".")[0].partition("_")
        kernel = next(kernel for kernel in KERNELS if kernel == name)
        path, uid = stored_path(info.path, root), series_uid(info)
        label = f"{job.row.kernel or 'unknown'} {kernel}" if _sharpens(settings, kernel) else job.row.kernel
        row = replace(job.row, series=series_name(info.format, path, uid), path=path, uid=uid, kernel=label)
        if dose == "full":
            rows.append(replace(row, dose="full_dose", dose_fraction=1.0))
        else:
            lower = _dose(settings, job.row, kernel, seed, int(copy))[1]
            fraction = None if lower.noise_hu else round(lower.fraction, 4)
            rows.append(replace(row, dose="low_dose", dose_fraction=fraction))
    if not all(_sharpens(settings, kernel) for kernel in _copies(settings)):
        rows.append(replace(job.row, dose="full_dose", dose_fraction=1.0))
    return rows
