"""Writes a data set of simulated abdomens, scanned at full and at low dose, as DICOM series."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.atomic import write_json
from ctcycle.ct.dicom.creating import SeriesHeader, write_new_series
from ctcycle.ct.hounsfield import hu_to_mu, mu_to_hu
from ctcycle.errors import OutputError
from ctcycle.inference.records import FOLDER, Making, OutputRecords
from ctcycle.simulation.dose import simulate_counts
from ctcycle.simulation.phantom import Patient, draw_slab, make_patient
from ctcycle.simulation.processes import share_out
from ctcycle.simulation.projection import project
from ctcycle.simulation.reconstruction import reconstruct
from ctcycle.simulation.settings import Kernel, SimulationSettings, span

SIMULATOR = 5
"""Version of the simulator; increase it whenever the same settings give different data, to detect old data."""

MARK = "simulation.json"
"""File with the settings of a data set, in its folder."""


@dataclass(frozen=True)
class SimulatedPatient:
    """One simulated patient at both doses.

    Attributes:
        full: (S, H, W) float32 HU at full dose.
        low: (S, H, W) float32 HU at low dose.
        truth: (S, H, W) float32 HU, the anatomy without noise or blur.
        first_z_mm: z position of the first slice; the others follow towards the head.
        pixel_mm: side of a pixel.
        kernel: reconstruction kernel.
    """

    full: NDArray[np.float32]
    low: NDArray[np.float32]
    truth: NDArray[np.float32]
    first_z_mm: float
    pixel_mm: float
    kernel: Kernel


def simulate_patient(settings: SimulationSettings, index: int, seed: int) -> SimulatedPatient:
    """Return patient ``index`` of the data set with ``seed``, independent of the other patients."""
    anatomy, noise, margin = (np.random.default_rng([seed, index, stream]) for stream in range(3))
    patient = make_patient(anatomy)
    pixel_mm, kernel = fitted_pixel(settings, patient, margin), settings.kernels[index % len(settings.kernels)]
    first_z = round(patient.level_mm - settings.slice_spacing_mm * (settings.slices - 1) / 2, 1)
    positions = first_z + settings.slice_spacing_mm * np.arange(settings.slices)
    thickness = settings.slice_spacing_mm
    truth = np.stack([draw_slab(patient, z, thickness, settings.size, pixel_mm) for z in positions])
    own = replace(settings, pixel_mm=pixel_mm, kernel=kernel)
    scans = [scan_slice(slice_hu, own, noise) for slice_hu in truth]
    full, low = (np.stack(volume) for volume in zip(*scans, strict=True))
    return SimulatedPatient(full, low, truth, first_z, pixel_mm, kernel)


def fitted_pixel(settings: SimulationSettings, patient: Patient, rng: np.random.Generator) -> float:
    """Return the side of a patient's pixels in mm, within the limits of the settings, in whole micrometres.

    Between the limits, the field of view is the circle around body and table with a margin of 2 to 12 %.
    """
    low, high = span(settings.pixel_mm)
    fitting = 2 * patient.reach_mm * rng.uniform(1.02, 1.12) / settings.size
    return low if low == high else round(min(max(fitting, low), high), 3)


def scan_slice(
    hu: NDArray[np.float32], settings: SimulationSettings, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the reconstructions of one slice (N, N) at full dose and at low dose, all in HU.

    Of several pixel sizes or kernels in the settings, it uses the first.
    """
    pixel_mm = span(settings.pixel_mm)[0]
    line_integrals = project(hu_to_mu(hu).clip(0.0), pixel_mm, settings.views)
    full, low = simulate_counts(
        line_integrals, settings.photons, settings.dose_fraction, settings.electronic_noise, rng
    )
    both = reconstruct(full + 1j * low, pixel_mm, settings.size, settings.kernels[0])
    return mu_to_hu(both.real), mu_to_hu(both.imag)


def simulate_dataset(
    folder: Path,
    settings: SimulationSettings,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
) -> list[Path]:
    """Write ``sim000/{full_dose,low_dose}/0001.dcm`` etc. to ``folder``; patients that already exist are skipped.

    Each patient's folder is written atomically. Only one run at a time may write to ``folder``.

    Args:
        folder: new, empty, or written by this function with the same settings and seed.
        settings: patients, scanner and dose.
        seed: non-negative; the same seed and settings give the same bytes for any number of workers.
        workers: number of processes; 1 uses the current process.
        progress: called with the number of finished patients, once at the start and after each patient.

    Returns:
        The patients' folders, in order.

    Raises:
        OutputError: the folder contains something else, a patient was changed, or it cannot be written to.
        CtcycleError: a worker process died.
    """
    records, report = OutputRecords(folder), progress or (lambda _done: None)
    _check_folder(folder)
    with records.opened():
        making = _claim(records, settings, seed)
        patients = patient_folders(folder, settings.patients)
        missing = [index for index, patient in enumerate(patients) if records.state(patient, making) != "done"]
        report(len(patients) - len(missing))
        make = partial(_write_patient, records, making, settings, seed)
        for done, _ in enumerate(share_out(make, missing, workers), len(patients) - len(missing) + 1):
            report(done)
    return patients


def patient_folders(folder: Path, patients: int) -> list[Path]:
    """Return the folders of the first patients of a data set, in order."""
    return [folder / f"sim{index:03d}" for index in range(patients)]


def _check_folder(folder: Path) -> None:
    """Check that the simulator wrote to the folder before, or nobody did.

    Raises:
        OutputError: it is a file, or contains files but no record.
    """
    known = (folder / FOLDER).is_dir() or (folder / MARK).is_file()
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not known)):
        raise OutputError(f"{folder}: contains files not written by the simulator; choose a new folder")


def _claim(records: OutputRecords, settings: SimulationSettings, seed: int) -> Making:
    """Record the settings in the folder, and return what its patients are made with.

    Raises:
        OutputError: other settings are recorded there.
    """
    mark = records.out / MARK
    wanted = json.loads(json.dumps({"simulator": SIMULATOR, "seed": seed, **asdict(settings)}))
    making, found = Making(wanted, {}), _read_mark(mark)
    if found is None:
        with records.writing(mark, making) as hidden:
            write_json(hidden, wanted)
        return making
    changed = [key for key in wanted if found.get(key) != wanted[key]]
    if changed:
        differences = ", ".join(f"{key}={found.get(key)}" for key in changed)
        raise OutputError(
            f"{records.out}: contains a data set with other settings ({differences}); delete it or choose a new folder"
        )
    return making


def _read_mark(mark: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(mark.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{mark}: cannot read ({error}); delete the folder or choose a new one") from error
    return content if isinstance(content, dict) else {}


def _write_patient(records: OutputRecords, making: Making, settings: SimulationSettings, seed: int, index: int) -> None:
    """Simulate one patient and write both series to the patient's folder."""
    simulated = simulate_patient(settings, index, seed)
    patient = records.out / f"sim{index:03d}"
    with records.writing(patient, making) as partial:
        for number, (dose, hu) in enumerate((("full_dose", simulated.full), ("low_dose", simulated.low)), 1):
            write_new_series(hu, partial / dose, _header(settings, seed, patient.name, number, simulated))


def _header(
    settings: SimulationSettings, seed: int, patient: str, number: int, simulated: SimulatedPatient
) -> SeriesHeader:
    """Return the DICOM header of a patient's series: number 1 is full dose, 2 is low dose.

    Only the description gives the dose, for human readers; headers of real scans do not state it.
    """
    beam = f"{settings.views} parallel views, {settings.photons:g} photons"
    dose = "full dose" if number == 1 else f"low dose {settings.dose_fraction:g}"
    return SeriesHeader(
        patient=patient,
        study=f"{SIMULATOR} {seed} {patient} {settings}",
        number=number,
        description=f"{dose} simulated",
        derivation=f"Simulated: analytic phantom, {beam}, {dose}",
        kernel=simulated.kernel,
        pixel_mm=simulated.pixel_mm,
        slice_spacing_mm=settings.slice_spacing_mm,
        first_z_mm=simulated.first_z_mm,
    )
