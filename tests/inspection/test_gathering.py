"""The data doctor on folders: what it finds, and that it reads no more than it may."""

from pathlib import Path

import numpy as np
import pytest
from noisy_series import write_npy
from phantom_series import PATIENT_ID, PATIENT_NAME, write_series

from ctcycle.data.settings import Source
from ctcycle.errors import SeriesError
from ctcycle.inspection import gathering
from ctcycle.inspection.copies import BOTH_DOSES, REPEATED, TWO_PATIENTS
from ctcycle.inspection.doses import measured_doses, proposed_doses
from ctcycle.inspection.facts import Facts
from ctcycle.inspection.findings import findings
from ctcycle.inspection.gathering import Limits, gather
from ctcycle.inspection.proposals.proposal import propose
from ctcycle.inspection.shown.page import page
from ctcycle.inspection.shown.tables import group_rows, series_csv


def facts_of(folder: Path, *sources: Source, limits: Limits | None = None) -> Facts:
    return gather(sources or (Source(folder),), folder.parent, limits or Limits())


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three patients at both doses, as npy slices: 40 and 15 HU of noise."""
    for number in range(3):
        write_npy(tmp_path / "data" / f"P{number}" / "low_dose", 40.0, seed=number)
        write_npy(tmp_path / "data" / f"P{number}" / "full_dose", 15.0, seed=10 + number)
    return tmp_path / "data"


def test_noise_doses_and_pairs(study: Path) -> None:
    facts = facts_of(study)
    assert len(facts.series) == 6
    assert facts.labels == {1: "P0", 2: "P1", 3: "P2"}
    for one in facts.series:
        truth = 40.0 if one.row.dose == "low_dose" else 15.0
        assert one.noise_hu == pytest.approx(truth, rel=0.15)
        assert one.pixels is not None
        assert one.pixels.unit == "HU"
    assert set(measured_doses(facts.series).items()) == {(one.row.series, one.row.dose) for one in facts.series}
    assert [(pair.slices, pair.problem, pair.compared) for pair in facts.pairs] == [(3, "", 3)] * 3
    assert not facts.copies


def test_swapped_folders_are_a_problem(tmp_path: Path) -> None:
    write_npy(tmp_path / "data" / "P0" / "low_dose", 12.0)
    write_npy(tmp_path / "data" / "P0" / "full_dose", 40.0, seed=1)
    facts = facts_of(tmp_path / "data")
    problems = [one.text for one in findings(facts, measured_doses(facts.series)) if one.weight == "bad"]
    assert any("labelled low dose, but its noise is" in text for text in problems)


def test_pairs_off_by_one_slice(tmp_path: Path, tiny_anatomy: np.ndarray) -> None:
    low, full = tiny_anatomy[:-1], tiny_anatomy[1:]
    write_series(tmp_path / "data" / "P0" / "low_dose", low, "1.2.3", changes={"PixelSpacing": [0.7, 0.7]})
    write_series(tmp_path / "data" / "P0" / "full_dose", full, "1.2.4", changes={"PixelSpacing": [0.7, 0.7]})
    facts = facts_of(tmp_path / "data")
    (pair,) = facts.pairs
    assert "seem to be off by one slice" in pair.problem
    assert any(one.subject == "pairs" and one.weight == "bad" for one in findings(facts, measured_doses(facts.series)))


@pytest.fixture
def tiny_anatomy() -> np.ndarray:
    """Slices of a changing anatomy with little noise, as stored by a scanner: (8, 160, 160)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:160, :160] - 80.0
    slices = []
    for number in range(8):
        hu = np.where(np.hypot(rows, columns) < 72, 40.0, -1000.0)
        for organ in range(12):
            angle = 0.55 * organ + 0.35 * number
            centre = 45 * np.array([np.sin(angle), np.cos(angle * 0.7 + organ)])
            hu[np.hypot(rows - centre[0], columns - centre[1]) < 6 + (organ + number) % 5] = (-90, 140, 90)[organ % 3]
        slices.append(hu + rng.normal(0, 8, hu.shape))
    return np.rint(np.array(slices) + 1024).clip(0).astype(np.uint16)


@pytest.mark.parametrize(
    ("other", "kind"),
    [("P0/full_dose", BOTH_DOSES), ("P1/low_dose", TWO_PATIENTS), ("P0/low_dose_again", REPEATED)],
)
def test_copies(tmp_path: Path, other: str, kind: str) -> None:
    write_npy(tmp_path / "data" / "P0" / "low_dose", 30.0, seed=3)
    write_npy(tmp_path / "data" / other, 30.0, seed=3)
    source = Source(tmp_path / "data", patient=r"^(P\d)")
    (copies,) = facts_of(tmp_path / "data", source).copies
    assert (copies.kind, copies.slices) == (kind, 3)


def test_copies_in_another_format_are_found(tmp_path: Path) -> None:
    hu = write_npy(tmp_path / "data" / "P0" / "low_dose", 30.0)
    stored = (hu.clip(-1024) + 1024).astype(np.uint16)
    write_npy(tmp_path / "data" / "P0" / "low_dose", 30.0)
    for number, image in enumerate(hu, 1):
        np.save(tmp_path / "data" / "P0" / "low_dose" / f"slice_{number}.npy", image.clip(-1024))
    write_series(tmp_path / "data" / "P1" / "low_dose", stored)
    (copies,) = facts_of(tmp_path / "data").copies
    assert (copies.kind, copies.slices) == (TWO_PATIENTS, 3)


def test_patients_that_share_pixels_stay_in_one_split(tmp_path: Path) -> None:
    for number in range(4):
        seed = 0 if number < 2 else number
        write_npy(tmp_path / "data" / f"P{number}" / "low_dose", 40.0, seed=seed)
        write_npy(tmp_path / "data" / f"P{number}" / "full_dose", 15.0, seed=10 + number)
    proposal = propose(facts_of(tmp_path / "data"), gpu=False)
    assert proposal.splits["P0"] == proposal.splits["P1"]
    assert set(proposal.splits.values()) == {"train", "val", "test"}


def test_no_more_is_read_than_allowed(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = gathering.measure_pixels

    def counted(*arguments: object, **options: object) -> object:
        pixels = real(*arguments, **options)  # type: ignore[arg-type]
        read.append(len(pixels.digests))
        return pixels

    monkeypatch.setattr(gathering, "measure_pixels", counted)
    facts = facts_of(study, limits=Limits(slices=2, most_slices=8))
    assert read == [2, 2, 2, 2]
    assert not facts.every_slice
    texts = [one.text for one in findings(facts, measured_doses(facts.series))]
    assert "the pixels of 2 of 6 series were not read" in texts
    assert any("only a sample" in text for text in texts)


def test_unusable_series_are_named_by_their_reason(study: Path) -> None:
    np.save(study / "scaled.npy", np.random.default_rng(0).random((3, 64, 64)) * 255)
    facts = facts_of(study)
    assert len(facts.series) == 6
    (problem,) = [one.text for one in findings(facts, measured_doses(facts.series)) if one.subject == "unusable"]
    assert "values scaled to 0..255" in problem
    assert "scaled.npy" not in problem


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "scaled.npy", np.random.default_rng(0).random((3, 64, 64)) * 255)
    with pytest.raises(SeriesError, match="no CT can be used"):
        facts_of(tmp_path / "data")


def test_the_dose_of_unlabelled_folders_follows_from_the_noise(tmp_path: Path) -> None:
    for number in range(2):
        write_npy(tmp_path / "a" / f"P{number}", 40.0, seed=number)
        write_npy(tmp_path / "b" / f"R{number}", 15.0, seed=10 + number)
    facts = gather((Source(tmp_path / "a"), Source(tmp_path / "b")), tmp_path, Limits())
    assert proposed_doses(facts, measured_doses(facts.series)) == {0: "low_dose", 1: "full_dose"}
    proposal = propose(facts, gpu=False)
    assert [source.dose for source in proposal.sources] == ["low_dose", "full_dose"]
    assert (proposal.method, proposal.scheme) == ("calibrated_pairs", "disjoint_patients")
    assert propose(facts, gpu=True).method == "physics_cyclegan"


def test_true_pairs_are_proposed_for_supervised_training(study: Path) -> None:
    proposal = propose(facts_of(study), gpu=False)
    assert proposal.method == "supervised"
    assert {split: part.pairs for split, part in proposal.parts.items()} == {"train": 3, "val": 3, "test": 3}


@pytest.mark.parametrize(("dose", "method"), [("full_dose", "simulate"), ("low_dose", "")])
def test_one_dose(tmp_path: Path, dose: str, method: str) -> None:
    write_npy(tmp_path / "data" / "P0" / dose, 20.0)
    assert propose(facts_of(tmp_path / "data"), gpu=False).method == method


def test_kernels_that_confound_the_dose_are_a_problem(tmp_path: Path) -> None:
    write_series(tmp_path / "data" / "P0" / "low_dose", series="1.2.3", changes={"ConvolutionKernel": "D45f"})
    write_series(tmp_path / "data" / "P1" / "full_dose", series="1.2.4", changes={"ConvolutionKernel": "B30f"})
    facts = facts_of(tmp_path / "data")
    problems = [one.text for one in findings(facts, measured_doses(facts.series)) if one.weight == "bad"]
    assert any(text.startswith("no kernel has both doses") for text in problems)


def test_page_and_table_name_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "Smith_John" / "secret_folder"
    write_series(folder / "low_dose", changes={"WindowWidth": "350", "WindowCenter": ["40", "50"]})
    (folder / "low_dose" / "0002.dcm").rename(folder / "low_dose" / "Smith_0002.dcm")
    np.save(folder / "Smith_scaled.npy", np.random.default_rng(0).random((3, 64, 64)) * 255)
    facts = facts_of(folder)
    measured = measured_doses(facts.series)
    proposal = propose(facts, gpu=False)
    html = page(facts, measured, findings(facts, measured), proposal, ["scan.yaml", "train.yaml"])
    table = str(group_rows(facts, measured, proposal.splits))
    for secret in (PATIENT_NAME, PATIENT_ID, "19330303", "Smith", "secret_folder", str(tmp_path)):
        assert secret not in html
        assert secret not in table
    assert "P1" in html
    assert "W 350 L 40" in series_csv(facts, measured)
    assert PATIENT_ID not in series_csv(facts, measured)


def test_series_with_burnt_in_text_have_no_picture(tmp_path: Path) -> None:
    write_series(tmp_path / "data" / "low_dose", changes={"BurnedInAnnotation": "YES"})
    write_series(tmp_path / "data" / "full_dose", series="1.2.3")
    pictures = {one.row.dose: bool(one.pixels and one.pixels.picture) for one in facts_of(tmp_path / "data").series}
    assert pictures == {"low_dose": False, "full_dose": True}
