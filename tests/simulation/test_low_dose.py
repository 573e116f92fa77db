import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantom_series import PATIENT_NAME, write_series
from pydicom import dcmread

from ctcycle.atomic import file_digests
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.pairs import pair_slices
from ctcycle.data.settings import Source, SplitSettings
from ctcycle.data.store import SliceStore
from ctcycle.errors import ConfigError, SeriesError
from ctcycle.simulation.low_dose import LowDoseReport, simulate_low_dose
from ctcycle.simulation.settings import LowDoseSettings

SQUARE = {"PixelSpacing": [4.0, 4.0]}


def scan(folder: Path, seed: int, **changes: object) -> list[Path]:
    """Three slices of a body with 12 HU of noise."""
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    body = np.where(np.hypot(rows / 0.65, columns / 0.85) < 1, 50.0, -1000.0)
    hu = body + np.random.default_rng(seed).normal(0, 12, (3, 96, 96))
    stored = np.rint(hu.clip(-1024, 3000) + 1024).astype(np.uint16)
    return write_series(folder, stored, f"1.2.826.0.1.{seed}", changes={**SQUARE, "PatientID": f"P{seed}", **changes})


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for number, patient in enumerate(("anna", "bert", "carl")):
        scan(folder / patient, number + 1)
    return folder


def settings(*paths: Path, **changes: object) -> LowDoseSettings:
    sources = tuple(Source(path, dose="full_dose", patient="^([^/]+)/") for path in paths)
    return LowDoseSettings(sources, views=60, **changes)  # type: ignore[arg-type]


def simulated(out: Path, wanted: LowDoseSettings, seed: int = 0, workers: int = 1) -> LowDoseReport:
    return simulate_low_dose(out / "series", out / "manifest.csv", wanted, seed, workers=workers)


def volume(report: LowDoseReport, row: ManifestRow) -> np.ndarray:
    root = report.manifest.root
    return SliceStore(root / "store").open_row(row, root).hu.astype(float)


def test_each_series_gets_its_copies_and_every_copy_its_full_dose(scans: Path, tmp_path: Path) -> None:
    report = simulated(
        tmp_path, settings(scans, copies=3, kernels=("soft", "ramp"), sharpen=True, dose_fraction=(0.1, 0.5))
    )
    low, full = (report.manifest.select(dose=dose).rows for dose in ("low_dose", "full_dose"))
    assert report.low_dose == len(low) == 9
    assert len(full) == 6  # of each patient the scan itself, and the sharpened one
    assert {row.patient for row in low} == {"anna", "bert", "carl"}
    assert sorted({row.kernel for row in low}) == ["B30f/3", "B30f/3 ramp"]
    assert len({row.dose_fraction for row in low}) == 9
    assert all(0.1 <= row.dose_fraction <= 0.5 for row in low if row.dose_fraction)
    pairs = pair_slices(report.manifest.rows, lambda row: range(row.slices))
    rows = {row.series: row for row in report.manifest}
    assert len(pairs) == 27
    for pair in pairs[::3]:
        one, other = (volume(report, rows[place.series])[place.slice_index] for place in pair)
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.95


def test_noise_is_that_of_the_dose_and_the_scan_stays_what_it_is(scans: Path, tmp_path: Path) -> None:
    report = simulated(tmp_path, settings(scans, copies=2, kernels=("soft",), dose_fraction=0.2))
    first, second, full = (
        next(row for row in report.manifest.select(patients=["anna"]) if end in row.path)
        for end in ("soft_0", "soft_1", "anna")
    )
    reference = volume(report, full)
    noises = [volume(report, row) - reference for row in (first, second)]
    middle = np.s_[:, 40:56, 30:66]
    for noise in noises:
        # the phantom's noise is white: of the band in which it is measured, the soft kernel has about half
        assert 12 < noise[middle].std() < 3 * 12 * np.sqrt(1 / 0.2 - 1)
        assert abs(noise[middle].mean()) < 4
    assert abs(np.corrcoef(noises[0][middle].ravel(), noises[1][middle].ravel())[0, 1]) < 0.1


def test_the_level_is_the_one_asked_for(scans: Path, tmp_path: Path) -> None:
    report = simulated(tmp_path, settings(scans, noise_hu=25.0))
    low, full = (report.manifest.select(dose=dose, patients=["bert"]).rows[0] for dose in ("low_dose", "full_dose"))
    assert low.dose_fraction is None
    noise = (volume(report, low) - volume(report, full))[:, 36:60, 26:70]
    assert noise.std() == pytest.approx(25.0, rel=0.1)


@pytest.mark.slow
def test_any_number_of_workers_and_a_second_call_give_the_same_pixels(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings(scans, copies=2)
    one, two = simulated(tmp_path / "one", wanted), simulated(tmp_path / "two", wanted, workers=2)
    for first, second in zip(one.manifest, two.manifest, strict=True):
        assert np.array_equal(volume(one, first), volume(two, second))
    other = simulated(tmp_path / "other", wanted, seed=1)
    low = [report.manifest.select(dose="low_dose").rows[0] for report in (one, other)]
    assert not np.array_equal(volume(one, low[0]), volume(other, low[1]))

    kept = sorted(path for path in (tmp_path / "one" / "series").iterdir() if path.name != ".ctcycle")
    kept[0].rename(kept[0].with_name(f".{kept[0].name}.partial-0123abcd"))  # as a run leaves it that was killed
    stamps = [path.stat().st_mtime_ns for path in kept[1:]]
    assert simulated(tmp_path / "one", wanted).manifest == one.manifest
    assert sorted((tmp_path / "one" / "series").iterdir())[1:] == kept
    assert [path.stat().st_mtime_ns for path in kept[1:]] == stamps


def test_a_series_without_a_uid_has_noise_of_its_own(scans: Path, tmp_path: Path) -> None:
    scan(tmp_path / "in" / "dora", 8, SeriesInstanceUID=None)
    report = simulated(tmp_path / "out", settings(tmp_path / "in"))
    assert report.low_dose == 1


def test_what_cannot_be_projected_is_left_out_with_its_reason(scans: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(scans / "anna", source / "anna")
    scan(source / "oblong", 7, PixelSpacing=[4.0, 2.0])
    np.save(source / "plain.npy", np.full((96, 96), -1000, np.int16))
    write_series(source / "lungs", np.zeros((2, 96, 96), np.uint16), "1.2.826.0.1.9", changes=SQUARE)
    report = simulated(tmp_path / "out", LowDoseSettings((Source(source, dose="full_dose"),), views=60))
    reasons = {item.path.name: item.reason for item in report.skipped}
    assert report.low_dose == 1
    assert "unknown pixel spacing" in reasons["in"]  # npy slices are named by their folder
    assert "4 x 2 mm" in reasons["oblong"]
    assert "lungs" in reasons
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == [".ctcycle"]


def test_low_dose_of_other_settings_or_of_changed_scans_is_not_taken_for_done(scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans, tmp_path / "in")
    wanted = settings(tmp_path / "in")
    simulated(tmp_path / "out", wanted)
    before = file_digests(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"other weights or options \(dose_fraction=0\.5 instead of 0\.25\)"):
        simulated(tmp_path / "out", settings(tmp_path / "in", dose_fraction=0.5))
    scan(tmp_path / "in" / "bert", 2, SeriesDescription="other")
    with pytest.raises(SeriesError, match=r"in/bert: its files have changed since .* was made from them"):
        simulated(tmp_path / "out", wanted)
    assert file_digests(tmp_path / "out") == before


KILLED = """
import os, sys
from pathlib import Path
import test_low_dose as tests
rename = Path.rename
def dying(self, target):
    if Path(target).parent.name == "series":
        os.kill(os.getpid(), 9)
    return rename(self, target)
Path.rename = dying
tests.simulated(Path(sys.argv[1]), tests.settings(Path(sys.argv[2])))
"""


def test_what_a_killed_simulation_left_is_removed_by_the_next(scans: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out"), str(scans)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list((tmp_path / "out" / "series").glob(".*.partial-*/*/low_dose*"))
    simulated(tmp_path / "out", settings(scans))
    simulated(tmp_path / "whole", settings(scans))
    assert file_digests(tmp_path / "out") == file_digests(tmp_path / "whole")


def test_without_any_full_dose_there_is_nothing_to_do(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="all are low dose"):
        simulated(tmp_path, LowDoseSettings((Source(scans, dose="low_dose"),)))


def test_patients_are_split_as_asked(scans: Path, tmp_path: Path) -> None:
    report = simulated(tmp_path, settings(scans, split=SplitSettings(test=("carl",), val_fraction=0.3)))
    splits = {row.patient: row.split for row in report.manifest}
    assert splits["carl"] == "test"
    assert sorted(splits.values()) == ["test", "train", "val"]


def test_simulated_dicom_series_say_that_they_are_simulated(scans: Path, tmp_path: Path) -> None:
    report = simulated(tmp_path, settings(scans))
    row = report.manifest.select(dose="low_dose").rows[0]
    low_dose = dcmread(next((tmp_path / row.path).glob("*.dcm")))
    source = dcmread(scans / row.patient / "0001.dcm")
    assert low_dose.SeriesInstanceUID != source.SeriesInstanceUID
    assert low_dose.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert "0.25 of the dose" in low_dose.DerivationDescription
    assert low_dose.SeriesDescription == "Abdomen 2.0 ctcycle simulated"
    assert "DerivationCodeSequence" not in low_dose
    assert not {PATIENT_NAME, source.PatientID} & set(vars(row).values())


def test_nifti_gives_nifti(tmp_path: Path) -> None:
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    hu = np.where(np.hypot(rows, columns) < 0.7, 50, -1000)[..., None] + np.random.default_rng(0).normal(
        0, 9, (64, 64, 4)
    )
    image = nib.Nifti1Image(hu.astype(np.int16), np.diag([5.0, 5.0, 3.0, 1.0]))
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "case.nii.gz")
    report = simulated(tmp_path, LowDoseSettings((Source(tmp_path / "in", dose="full_dose"),), noise_hu=30.0, views=60))
    low, full = (report.manifest.select(dose=dose).rows[0] for dose in ("low_dose", "full_dose"))
    assert low.path.endswith("low_dose_b30_0.nii.gz")
    assert np.array_equal(nib.load(tmp_path / low.path).affine, image.affine)
    noise = (volume(report, low) - volume(report, full))[:, 24:40, 20:44]
    assert noise.std() == pytest.approx(30, rel=0.1)
