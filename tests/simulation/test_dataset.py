import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from scipy.ndimage import binary_erosion
from skimage.metrics import structural_similarity

from ctcycle.errors import OutputError
from ctcycle.simulation import dataset
from ctcycle.simulation.dataset import (
    SimulatedPatient,
    SimulationSettings,
    scan_slice,
    simulate_dataset,
    simulate_patient,
)

SMALL = SimulationSettings(patients=3, slices=2, size=64, pixel_mm=5.6, views=60)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def noise_std(patient: SimulatedPatient, hu: np.ndarray) -> float:
    soft = binary_erosion((patient.truth > -20) & (patient.truth < 200), np.ones((1, 9, 9)))
    return float((hu - patient.truth)[soft].std())


@pytest.fixture(scope="module")
def typical() -> list[SimulatedPatient]:
    return [simulate_patient(SimulationSettings(slices=1), index, seed=0) for index in range(3)]


def test_noise_is_that_of_real_abdomens(typical: list[SimulatedPatient]) -> None:
    clipped = [(p.low.clip(-1000, 1000), p.full.clip(-1000, 1000)) for p in typical]
    psnr = [10 * np.log10(2000**2 / np.mean((low - full) ** 2)) for low, full in clipped]
    ssim = [structural_similarity(low[0], full[0], data_range=2000) for low, full in clipped]
    assert 37.5 < np.mean(psnr) < 41.5
    assert 0.9 < np.mean(ssim) < 0.96
    assert 26 < np.mean([noise_std(p, p.low) for p in typical]) < 46
    assert 14 < np.mean([noise_std(p, p.full) for p in typical]) < 24


def test_means_are_right_at_both_doses(typical: list[SimulatedPatient]) -> None:
    for patient in typical:
        body = binary_erosion(patient.truth > -200, np.ones((1, 9, 9)))
        assert (patient.full - patient.truth)[body].mean() == pytest.approx(0, abs=1)
        assert (patient.low - patient.truth)[body].mean() == pytest.approx(0, abs=1)


@pytest.mark.parametrize("diameter_mm", [200, 260, 320])
def test_low_dose_of_a_water_disc_is_twice_as_noisy_and_not_brighter(diameter_mm: float) -> None:
    coarse = SimulationSettings(size=128, pixel_mm=2.8, views=180)
    along = (np.arange(128) - 64) * 2.8
    radius = np.hypot(along, along[:, None])
    disc = np.where(radius < diameter_mm / 2, 0.0, -1000.0).astype(np.float32)
    scans = [scan_slice(disc, coarse, np.random.default_rng(seed)) for seed in range(16)]
    full, low = (np.stack(doses) for doses in zip(*scans, strict=True))
    inside, middle = radius < 0.45 * diameter_mm, radius < 0.2 * diameter_mm
    for hu in (full, low):
        assert hu[:, inside].mean() == pytest.approx(0, abs=1)
    assert low[:, middle].mean() == pytest.approx(0, abs=1)
    spreads = [hu[:, inside].std(1).mean() for hu in (full, low)]
    assert 1.8 < spreads[1] / spreads[0] < 2.3
    correlations = [np.corrcoef(a[inside], b[inside])[0, 1] for a, b in zip(full, low, strict=True)]
    assert 0.35 < np.mean(correlations) < 0.55


def test_noise_of_the_low_dose_is_correlated_with_that_of_the_full_dose() -> None:
    photons_alone = SimulationSettings(slices=1, electronic_noise=0.0)
    patient = simulate_patient(photons_alone, 0, seed=0)
    soft = binary_erosion((patient.truth > -20) & (patient.truth < 200), np.ones((1, 9, 9)))
    correlation = np.corrcoef((patient.full - patient.truth)[soft], (patient.low - patient.truth)[soft])[0, 1]
    assert 0.4 < correlation < 0.6  # a quarter of the photons are the same: sqrt(1/4)


def test_a_patient_depends_on_seed_and_index_only() -> None:
    first = simulate_patient(SMALL, 1, seed=4)
    more = simulate_patient(replace(SMALL, patients=50), 1, seed=4)
    assert np.array_equal(first.low, more.low)
    assert first.low.shape == first.full.shape == first.truth.shape == (2, 64, 64)
    assert first.low.dtype == first.full.dtype == first.truth.dtype == np.float32
    for other in (simulate_patient(SMALL, 2, seed=4), simulate_patient(SMALL, 1, seed=5)):
        assert not np.array_equal(first.truth, other.truth)


def test_the_dose_leaves_the_anatomy_alone() -> None:
    first, brighter = (simulate_patient(replace(SMALL, photons=photons), 0, seed=0) for photons in (1e3, 1e6))
    assert np.array_equal(first.truth, brighter.truth)
    assert noise_std(first, first.full) > 3 * noise_std(brighter, brighter.full)


def test_slices_are_apart_by_their_spacing() -> None:
    two = simulate_patient(SMALL, 0, seed=0)
    one = simulate_patient(replace(SMALL, slices=1), 0, seed=0)
    assert two.first_z_mm == pytest.approx(one.first_z_mm - 2.5, abs=0.11)


def test_a_dose_fraction_of_one_is_the_full_dose_but_for_the_read_out() -> None:
    hu = simulate_patient(SMALL, 0, seed=0).truth[0]
    full, low = scan_slice(hu, replace(SMALL, dose_fraction=1.0, electronic_noise=0.0), np.random.default_rng(0))
    assert np.allclose(full, low, atol=1e-2)


def test_a_data_set_is_series_of_the_simulated_values(tmp_path: Path) -> None:
    done: list[int] = []
    folders = simulate_dataset(tmp_path / "set", SMALL, seed=3, progress=done.append)
    assert [folder.name for folder in folders] == ["sim000", "sim001", "sim002"]
    assert done == [0, 1, 2, 3]
    names = sorted(path.name for path in (tmp_path / "set").iterdir())
    assert names == [".ctcycle", *(folder.name for folder in folders), "simulation.json"]
    expected = simulate_patient(SMALL, 2, seed=3)
    for dose, hu in (("full_dose", expected.full), ("low_dose", expected.low)):
        files = [pydicom.dcmread(path) for path in sorted((folders[2] / dose).iterdir())]
        assert np.array_equal(np.stack([file.pixel_array - 1024.0 for file in files]), np.rint(hu))
        assert {file.PatientID for file in files} == {"sim002"}
        assert files[0].ImagePositionPatient[2] == pytest.approx(expected.first_z_mm)
        assert files[0].PixelSpacing == [5.6, 5.6]
        assert "dose" in files[0].SeriesDescription
    assert json.loads((tmp_path / "set" / "simulation.json").read_text())["photons"] == SMALL.photons


def test_patients_cycle_through_the_kernels_and_have_fitted_pixels_as_their_headers_say(tmp_path: Path) -> None:
    varied = replace(SMALL, kernel=("soft", "d45"), pixel_mm=(4.6, 6.2))
    folders = simulate_dataset(tmp_path, varied, seed=3)
    assert simulate_dataset(tmp_path, varied, seed=3) == folders  # the settings read back are the same
    expected = [simulate_patient(varied, index, seed=3) for index in range(3)]
    assert [patient.kernel for patient in expected] == ["soft", "d45", "soft"]
    assert len({patient.pixel_mm for patient in expected}) == 3
    for folder, patient in zip(folders, expected, strict=True):
        for dose in ("full_dose", "low_dose"):
            file = pydicom.dcmread(folder / dose / "0001.dcm")
            assert file.PixelSpacing == [patient.pixel_mm] * 2
            assert file.ConvolutionKernel == patient.kernel
            assert file.ImagePositionPatient[0] == pytest.approx(-32 * patient.pixel_mm)
        assert np.all(patient.truth[:, 0] == -1000)  # body and table are in the field of view


def test_fitted_pixels_stay_within_their_limits_and_leave_the_anatomy_alone() -> None:
    fixed = simulate_patient(SMALL, 0, seed=3)
    same = simulate_patient(replace(SMALL, pixel_mm=(5.6, 5.6)), 0, seed=3)
    larger = simulate_patient(replace(SMALL, pixel_mm=(9.0, 9.5)), 0, seed=3)
    assert np.array_equal(fixed.low, same.low)
    assert (fixed.pixel_mm, larger.pixel_mm) == (5.6, 9.0)
    areas = [np.count_nonzero(p.truth[0] > -200) * p.pixel_mm**2 for p in (fixed, larger)]
    assert areas[1] == pytest.approx(areas[0], rel=0.06)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done: list[int] = []
    simulate_dataset(tmp_path / "one", SMALL, seed=3)
    simulate_dataset(tmp_path / "two", SMALL, seed=3, workers=2, progress=done.append)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert done == [0, 1, 2, 3]
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_second_call_keeps_what_is_finished_and_makes_what_is_not(tmp_path: Path) -> None:
    folders = simulate_dataset(tmp_path, SMALL, seed=3)
    whole = contents(tmp_path)
    kept = folders[0] / "low_dose" / "0001.dcm"
    os.utime(kept, (1, 1))
    folders[1].rename(tmp_path / ".sim001.partial-0123abcd")  # as a run leaves it that was killed
    (tmp_path / ".sim001.partial-0123abcd" / "stray").touch()
    done: list[int] = []
    simulate_dataset(tmp_path, SMALL, seed=3, progress=done.append)
    assert done == [2, 3]
    assert contents(tmp_path) == whole
    assert kept.stat().st_mtime == 1


def test_a_patient_that_was_changed_is_not_taken_for_done(tmp_path: Path) -> None:
    folders = simulate_dataset(tmp_path, SMALL, seed=3)
    (folders[1] / "low_dose" / "0001.dcm").write_text("changed")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"sim001: was changed after ctcycle wrote it, so it is never replaced"):
        simulate_dataset(tmp_path, SMALL, seed=3)
    assert contents(tmp_path) == before


def test_a_patient_that_fails_half_way_is_not_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = dataset.write_new_series

    def fail_at_low_dose(hu: Any, folder: Path, header: Any) -> Any:
        if folder.name == "low_dose":
            raise OutputError("disk full")
        return write(hu, folder, header)

    monkeypatch.setattr(dataset, "write_new_series", fail_at_low_dose)
    with pytest.raises(OutputError, match="disk full"):
        simulate_dataset(tmp_path, SMALL, seed=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ctcycle", "simulation.json"]


@pytest.mark.parametrize(("seed", "settings"), [(4, SMALL), (3, replace(SMALL, dose_fraction=0.5))])
def test_other_settings_in_the_same_folder_are_refused(seed: int, settings: SimulationSettings, tmp_path: Path) -> None:
    one = replace(SMALL, patients=1)
    simulate_dataset(tmp_path, one, seed=3)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"other settings \((seed=3|dose_fraction=0.25)\)"):
        simulate_dataset(tmp_path, replace(settings, patients=1), seed)
    assert contents(tmp_path) == before


def test_an_older_simulator_is_told_from_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_dataset(tmp_path, replace(SMALL, patients=1), seed=3)
    monkeypatch.setattr(dataset, "SIMULATOR", dataset.SIMULATOR + 1)
    with pytest.raises(OutputError, match=rf"\(simulator={dataset.SIMULATOR - 1}\)"):
        simulate_dataset(tmp_path, replace(SMALL, patients=1), seed=3)


def test_folders_of_others_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError, match="files not written by the simulator"):
        simulate_dataset(tmp_path, SMALL, seed=3)
    with pytest.raises(OutputError, match="choose a new folder"):
        simulate_dataset(tmp_path / "mine.txt", SMALL, seed=3)
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]


def test_a_broken_mark_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "simulation.json").write_text("{")
    with pytest.raises(OutputError, match="cannot read"):
        simulate_dataset(tmp_path, SMALL, seed=3)
