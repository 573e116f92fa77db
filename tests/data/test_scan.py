import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom_series import body_hu, stored_body, write_series
from pydantic import TypeAdapter, ValidationError

from ctcycle.config.loading import load_config
from ctcycle.ct.series import SeriesInfo, Skipped, series_uid
from ctcycle.data import scan
from ctcycle.data.manifest import Manifest, read_manifest, write_manifest
from ctcycle.data.pairs import pair_slices
from ctcycle.data.scan import scan_sources, write_skipped
from ctcycle.data.scan_summary import summary
from ctcycle.data.settings import Source, SplitSettings
from ctcycle.data.store import SliceStore
from ctcycle.errors import ManifestError, SeriesError
from ctcycle.run import main
from ctcycle.tasks import running

REAL = Path(os.environ.get("CTCYCLE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
real_data = pytest.mark.skipif(not (REAL / "mayo2016_pairs").is_dir(), reason="no folder of real CT")
PATIENT_ID = "Doe^Jane-19560203"
PLAIN = SeriesInfo("dicom", Path(), (), "1.2", (4, 16, 16), (3.0, 0.7, 0.7), (0.0, 3.0, 6.0, 9.0), "B30f", 3.0, "")


@pytest.fixture
def unmeasured(monkeypatch):
    """Lets the scan take series that exist only as descriptions."""
    monkeypatch.setattr(scan, "measure", lambda rows, *_: (list(rows), {row.series: math.nan for row in rows}, []))


@pytest.fixture
def found(tmp_path, monkeypatch, unmeasured):
    """Lets the scan of ``tmp_path`` find series by the path of their first slice."""

    def place(*names, source=None, **changes):
        infos = []
        for number, name in enumerate(names):
            file = tmp_path / name
            path = file if changes.get("format") == "nifti" else file.parent
            infos.append(replace(PLAIN, path=path, files=(file,), uid=f"1.2.{number}", **changes))
        monkeypatch.setattr(scan.series_io, "find_series", lambda *_, **__: (infos, []))
        source = source or Source(tmp_path)
        rows = scan_sources([source], tmp_path / "manifest.csv", SplitSettings()).manifest.rows
        by_path = {tmp_path / row.path: row for row in rows}
        return [by_path[info.path] for info in infos]

    return place


@pytest.mark.parametrize(
    ("name", "patient", "dose", "fraction"),
    [
        ("Training/3mm B30/quarter_3mm/L067/quarter_3mm/L067_QD_3_1.CT.0001.IMA", "L067", "low_dose", 0.25),
        ("anywhere/L096_FD_3mm_D45f_0021.IMA", "L096", "full_dose", 1.0),
        ("L143/full_1mm/0001.IMA", "L143", "full_dose", 1.0),
        ("L109_quarter_3mm_B30f/x.IMA", "L109", "low_dose", 0.25),
        ("C002/12-23-2021-CT/1.000000-Low Dose Images-71581/1-001.dcm", "C002", "low_dose", 0.1),
        ("L004/08-21-2018-84608/1.000000-Full Dose Images-38601/1-001.dcm", "L004", "full_dose", 1.0),
        ("N012/x/1.000000-Low dose images-94/1-001.dcm", "N012", "low_dose", 0.25),
        ("case7/low_dose/0001.dcm", "case7", "low_dose", None),
        ("case7/full_dose/0001.dcm", "case7", "full_dose", 1.0),
        ("all/case7/3mm_B30f/LowDose/0001.dcm", "case7", "low_dose", None),
        ("LD/case7/0001.dcm", "case7", "low_dose", None),
        ("nd/case7/0001.dcm", "case7", "full_dose", 1.0),
        ("full/case7/1 mm/0001.dcm", "case7", "full_dose", 1.0),
        ("case7/low/0001.dcm", "case7", "low_dose", None),
        ("case7/low-contrast/0001.dcm", "case7", "", None),
        ("case7/full_body_CT/0001.dcm", "case7", "", None),
        ("case7/ND-12/0001.dcm", "case7", "", None),
        ("LD_0031/ct/0001.dcm", "LD_0031", "", None),
        ("case7/Quarter_3_2023/0001.dcm", "case7", "", None),
        ("Quarter_3_2023/case7/low_dose/0001.dcm", "case7", "low_dose", None),
        ("case7/no_full_dose/0001.dcm", "case7", "", None),
        ("case7/piano_full_dose/0001.dcm", "case7", "full_dose", 1.0),
        ("case7/quarter-dose/0001.dcm", "case7", "low_dose", 0.25),
        ("case7/abdomen_full/0001.dcm", "case7", "", None),
        ("case7/quarter_3mm/0001.dcm", "case7", "low_dose", 0.25),
        ("case7/fuller/folder/0001.dcm", "case7", "", None),
        ("case7/quarter_dose_of_full_dose/0001.dcm", "case7", "", None),
        ("full_dose/case7/quarter/0001.dcm", "case7", "low_dose", 0.25),
    ],
)
def test_patient_and_dose_are_read_from_known_names(found, name, patient, dose, fraction):
    (row,) = found(name)
    assert (row.patient, row.dose, row.dose_fraction) == (patient, dose, fraction)


def test_the_layout_of_the_report_gives_the_split(found):
    names = [f"{split}/{dose}/1.npy" for split in ("train", "test") for dose in ("full_dose", "quarter_dose")]
    rows = found(*names, format="npy", kernel="", thickness_mm=0.0)
    assert [(row.patient, row.dose, row.split) for row in rows] == [
        ("train", "full_dose", "train"),
        ("train", "low_dose", "train"),
        ("test", "full_dose", "test"),
        ("test", "low_dose", "test"),
    ]


def test_kernel_and_thickness_come_from_the_header_or_else_from_the_name(found):
    (row,) = found("L067_full_3mm/L067_FD_3mm_B30f_0001.IMA", kernel="Br40d/3", thickness_mm=1.5)
    assert (row.kernel, row.thickness_mm) == ("Br40d/3", 1.5)
    (row,) = found("L067_full_3mm/L067_FD_3mm_B30f_0001.npy", kernel="", thickness_mm=0.0)
    assert (row.kernel, row.thickness_mm) == ("B30f", 3.0)


def test_geometry_and_place_are_those_of_the_series(found):
    (row,) = found("a/b/1.dcm", shape=(7, 20, 30), spacing_mm=(2.0, 0.6, 0.8))
    assert (row.slices, row.rows, row.columns, row.spacing_mm) == (7, 20, 30, 0.8)
    assert (row.format, row.path, row.uid) == ("dicom", "a/b", series_uid(replace(PLAIN, uid="1.2.0")))


def test_a_patient_id_becomes_a_salted_hash(found, tmp_path, monkeypatch):
    one, two = found("study1/s/1.dcm", "study2/s/1.dcm", patient_id=PATIENT_ID)
    assert one.patient == two.patient
    assert re.fullmatch(r"p-[0-9a-f]{10}", one.patient)
    (other,) = found("study1/s/1.dcm", patient_id="somebody else")
    (spaced,) = found("study1/s/1.dcm", patient_id=f" {PATIENT_ID} ")
    assert other.patient != one.patient == spaced.patient
    salted = scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings(), salt="pepper").manifest
    assert salted.rows[0].patient not in {one.patient, other.patient}
    salt = os.fsdecode(b"\xff\xfe")  # as a variable of the environment that is not text
    assert scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings(), salt=salt).manifest.rows[0].patient


def test_a_patient_id_never_leaves_the_scan(found, tmp_path):
    found("x/low_dose/1.dcm", "y/1.dcm", patient_id=PATIENT_ID)
    report = scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings())
    write_manifest(tmp_path / "m.csv", report.manifest)
    assert "Jane" not in (tmp_path / "m.csv").read_text() + summary(report)


@pytest.mark.parametrize("nobody", ["", "Anonymous", "anonymized_7", "0000", "unknown"])
def test_an_id_that_stands_for_anybody_is_none(found, nobody):
    rows = found("case1/arterial/1.dcm", "case2/arterial/1.dcm", patient_id=nobody)
    assert [row.patient for row in rows] == ["case1", "case2"]


def test_the_header_decides_where_folders_may_mean_either(found):
    (row,) = found("hospital/low_dose/case7/1.dcm", patient_id=PATIENT_ID)
    assert row.patient.startswith("p-")
    (row,) = found("hospital/low_dose/case7/1.dcm")
    assert row.patient == "hospital"


def test_loose_volumes_are_patients_by_their_name_without_the_dose(found):
    rows = found("case1_low_dose.nii.gz", "case1-full.nii.gz", "case2.nii", format="nifti", patient_id="")
    assert [(row.patient, row.dose) for row in rows] == [("case1", "low_dose"), ("case1", "full_dose"), ("case2", "")]


def test_what_the_source_says_goes_first(found, tmp_path):
    source = Source(tmp_path, dose="low_dose", dose_fraction=0.1, patient=r"case(\d+)", split="val")
    (row,) = found("L067/full_dose/test/case12_FD.dcm", source=source, patient_id=PATIENT_ID)
    assert (row.patient, row.dose, row.dose_fraction, row.split) == ("12", "low_dose", 0.1, "val")
    (row,) = found("quarter/1.dcm", "full/1.dcm", source=Source(tmp_path, dose_fraction=0.5))[:1]
    assert row.dose_fraction == 0.5
    (row,) = found("a7/x.dcm", source=Source(tmp_path, patient=r"a\d"))
    assert row.patient == "a7"


def test_a_pattern_that_finds_no_patient_is_refused(found, tmp_path):
    with pytest.raises(ManifestError, match=r"patient=case\\d does not match 'a/1.dcm'"):
        found("a/1.dcm", source=Source(tmp_path, patient=r"case\d"))


def test_sources_may_be_the_folders_of_one_dose_each(tmp_path):
    for dose in ("low_dose", "full_dose"):
        npy(tmp_path / "case7" / dose)
    sources = [Source(tmp_path / "case7" / dose) for dose in ("low_dose", "full_dose")]
    rows = scan_sources(sources, tmp_path / "m.csv", SplitSettings()).manifest.rows
    assert [(row.patient, row.dose) for row in rows] == [("case7", "full_dose"), ("case7", "low_dose")]


def test_a_series_in_two_sources_is_taken_once(tmp_path, monkeypatch, unmeasured):
    info = replace(PLAIN, path=tmp_path / "a", files=(tmp_path / "a" / "1.dcm",))
    monkeypatch.setattr(scan.series_io, "find_series", lambda *_, **__: ([info], []))
    sources = [Source(tmp_path, dose="low_dose"), Source(tmp_path, dose="full_dose")]
    report = scan_sources(sources, tmp_path / "manifest.csv", SplitSettings())
    assert [row.dose for row in report.manifest] == ["low_dose"]
    assert report.skipped == (Skipped(tmp_path / "a", "series already found in an earlier source"),)


def npy(path, slices=1):
    path.mkdir(parents=True)
    for number in range(slices):
        np.save(path / f"{number}.npy", body_hu(1, 16)[0].astype(np.int16))


def test_a_moved_data_set_has_the_same_series(tmp_path):
    npy(tmp_path / "one" / "p" / "low_dose")
    first = scan_sources([Source(tmp_path / "one")], tmp_path / "one" / "m.csv", SplitSettings()).manifest
    (tmp_path / "one").rename(tmp_path / "two")
    second = scan_sources([Source(tmp_path / "two")], tmp_path / "two" / "m.csv", SplitSettings()).manifest
    assert first.rows == second.rows


def test_the_scan_of_real_files_makes_a_manifest_that_can_be_read(tmp_path):
    for dose in ("low_dose", "full_dose"):
        npy(tmp_path / "p1" / dose, 3)
        npy(tmp_path / "p2" / dose, 2)
    seen = []
    report = scan_sources(
        [Source(tmp_path)], tmp_path / "manifest.csv", SplitSettings(test=("p2",)), progress=seen.append
    )
    assert len(seen) == 10
    write_manifest(tmp_path / "manifest.csv", report.manifest)
    manifest = read_manifest(tmp_path / "manifest.csv")
    assert manifest == report.manifest
    assert summary(report) == (
        "patient  dose       kernel  mm  split  series  slices  noise HU\n"
        "p1       full_dose  ?       ?   train       1       3         ?\n"
        "p1       low_dose   ?       ?   train       1       3         ?\n"
        "p2       full_dose  ?       ?   test        1       2         ?\n"
        "p2       low_dose   ?       ?   test        1       2         ?\n"
        "\n"
        "train: 1 patient (1 with both doses), 2 series, 3 low-dose and 3 full-dose slices\n"
        "test: 1 patient (1 with both doses), 2 series, 2 low-dose and 2 full-dose slices\n"
        "training patients cannot be divided between the domains: data.protocol=disjoint_patients leaves no full_dose "
        "slices, since 1 patient has both doses; set data.protocol to disjoint_slices or shuffled, or train on more "
        "patients\n"
        "val has no patient with matching series of both doses (2 found in total), so the last checkpoint will be used "
        "as best.pt; assign one in split.val or in the column 'split' of manifest.csv\n"
    )


@pytest.mark.parametrize("folder", ["p1 ", "\u00a0p1", "p\r1"])
def test_a_path_that_a_manifest_cannot_hold_is_refused_by_name(tmp_path, folder):
    write_series(tmp_path / "good", series="1.2.826.0.1.1")
    write_series(tmp_path / folder, series="1.2.826.0.1.2")
    report = scan_sources([Source(tmp_path)], tmp_path / "manifest.csv", SplitSettings())
    write_manifest(tmp_path / "manifest.csv", report.manifest)
    assert [row.path for row in read_manifest(tmp_path / "manifest.csv")] == ["good"]
    (left_out,) = (entry for entry in report.skipped if entry.refused)
    assert left_out.path == tmp_path / folder
    assert left_out.reason.endswith("rename it")


@pytest.mark.parametrize("spacing", [float("nan"), float("inf"), -0.7])
def test_a_spacing_that_is_no_length_is_unknown(found, tmp_path, spacing):
    (row,) = found("p1/1.dcm", spacing_mm=(1.0, spacing, spacing), thickness_mm=spacing)
    assert (row.spacing_mm, row.thickness_mm) == (0.0, 0.0)
    write_manifest(tmp_path / "m.csv", Manifest(tmp_path / "m.csv", (row,)))
    assert read_manifest(tmp_path / "m.csv").rows == (row,)


def test_several_images_at_one_position_are_no_volume_to_train_on(tmp_path):
    write_series(tmp_path / "good", series="1.2.826.0.1.1")
    write_series(tmp_path / "phases", series="1.2.826.0.1.2")
    changes = {"SeriesInstanceUID": "1.2.826.0.1.2"}
    write_series(tmp_path / "phases", stored_body(2)[::-1], "1.2.826.0.1.3", ["a.dcm", "b.dcm"], changes)
    report = scan_sources([Source(tmp_path)], tmp_path / "manifest.csv", SplitSettings())
    assert [row.path for row in report.manifest] == ["good"]
    (left_out,) = (entry for entry in report.skipped if entry.refused)
    assert left_out.reason.startswith("has 5 images at 3 positions")


@pytest.mark.parametrize(("made", "listed"), [("denoised", True), ("residual", False), ("uncertainty", False)])
def test_maps_of_ctcycle_are_not_listed_as_ct(tmp_path, made, listed):
    write_series(tmp_path / "good", series="1.2.826.0.1.1")
    write_series(tmp_path / "x", series="1.2.826.0.1.2", changes={"SeriesDescription": f"Chest ctcycle {made}"})
    report = scan_sources([Source(tmp_path)], tmp_path / "manifest.csv", SplitSettings())
    assert [row.path for row in report.manifest] == ["good", "x"][: 1 + listed]
    assert [entry.reason for entry in report.skipped] == [f"a map of ctcycle ({made}), not CT"][: not listed]


STUDIES = [{"study_uid": f"1.2.{number}", "frame_uid": f"1.3.{number}"} for number in range(4)]


def scanned(tmp_path, monkeypatch, places, source=None):
    """Scan descriptions of series: for each, its file, PatientID and study."""
    infos = [
        replace(
            PLAIN, path=(tmp_path / name).parent, files=(tmp_path / name,), uid=name, patient_id=who, **STUDIES[study]
        )
        for name, who, study in places
    ]
    monkeypatch.setattr(scan.series_io, "find_series", lambda *_, **__: (infos, []))
    report = scan_sources([source or Source(tmp_path)], tmp_path / "m.csv", SplitSettings())
    by_path = {row.path: row.patient for row in report.manifest}
    return [by_path[info.path.relative_to(tmp_path).as_posix()] for info in infos], " ".join(report.notes)


@pytest.mark.parametrize("who", ["ANON", "XYZ", "1"])
def test_one_id_for_several_people_is_known_by_their_studies(tmp_path, monkeypatch, unmeasured, who):
    """Four folders with a study each, all with one PatientID, are four patients."""
    places = [(f"case{number}/ct/1.dcm", who, number) for number in range(4)]
    patients, notes = scanned(tmp_path, monkeypatch, places)
    assert patients == ["case0", "case1", "case2", "case3"]
    assert "one PatientID in 4 folders with different studies, so each folder is taken as one patient" in notes
    assert who not in notes.replace(str(tmp_path), "").replace("PatientID", "").split()


def test_one_id_for_several_people_pairs_both_doses_by_folder(tmp_path, monkeypatch, unmeasured):
    places = [(f"{dose}/case{number}/1.dcm", "ANON", number) for dose in ("low_dose", "full_dose") for number in (0, 1)]
    patients, _ = scanned(tmp_path, monkeypatch, places)
    assert patients == ["case0", "case1"] * 2


@pytest.mark.parametrize(
    "places",
    [
        [("case1/ct/1.dcm", PATIENT_ID, 0), ("case2/ct/1.dcm", PATIENT_ID, 0)],
        [("case1/2019/1.dcm", PATIENT_ID, 0), ("case1/2021/1.dcm", PATIENT_ID, 1)],
        [
            (f"case{number}/ct/1.dcm", PATIENT_ID if number < 2 else f"other {number}", number % 4)
            for number in range(6)
        ],
    ],
    ids=["one study in two folders", "two studies in one folder", "two scans of one patient among many"],
)
def test_an_id_of_one_person_stays_one_patient(tmp_path, monkeypatch, unmeasured, places):
    patients, notes = scanned(tmp_path, monkeypatch, places)
    assert patients[0] == patients[1]
    assert patients[0].startswith("p-")
    assert "one PatientID" not in notes


def test_a_pattern_decides_about_patients_whatever_their_ids(tmp_path, monkeypatch, unmeasured):
    places = [(f"case{number}/ct/1.dcm", "ANON", number) for number in range(4)]
    patients, notes = scanned(tmp_path, monkeypatch, places, Source(tmp_path, patient="(case)"))
    assert patients == ["case"] * 4
    assert notes == ""


def disc(noise_hu, seed, slices=2):
    """A disc of soft tissue in air with white noise, as stored."""
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    body = np.where(np.hypot(rows, columns) < 0.9, 50.0, -1000.0)
    noise = np.random.default_rng(seed).normal(0, noise_hu, (slices, 96, 96))
    return np.rint((body + noise).clip(-1024, 3000) + 1024).astype(np.uint16)


def test_the_noise_of_each_series_is_measured_and_printed(tmp_path):
    for number, (dose, noise_hu) in enumerate({"low_dose": 60, "full_dose": 20}.items()):
        write_series(tmp_path / "p1" / dose, disc(noise_hu, number), series=f"1.2.826.0.1.{number}")
    report = scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings())
    found = {row.dose: report.noise_hu[row.series] for row in report.manifest}
    assert found == {"low_dose": pytest.approx(60, rel=0.1), "full_dose": pytest.approx(20, rel=0.1)}
    table = summary(report).splitlines()
    assert [line.split()[-1] for line in table[:3]] == ["HU", f"{found['full_dose']:.0f}", f"{found['low_dose']:.0f}"]
    assert "is labelled low dose" not in summary(report)


def test_progress_counts_the_slices_of_all_series(tmp_path):
    write_series(tmp_path / "a", series="1.2.826.0.1.1")
    write_series(tmp_path / "b", np.full((3, 32, 36), 1064, np.uint16), series="1.2.826.0.1.2")  # cannot be used
    write_series(tmp_path / "c", series="1.2.826.0.1.3")
    seen = []
    scan_sources(
        [Source(tmp_path)],
        tmp_path / "manifest.csv",
        SplitSettings(),
        decoding=lambda done, total: seen.append((done, total)),
    )
    assert [done for done, _total in seen] == [0, 1, 2, 3, 3, 6, 7, 8, 9, 9]
    assert {total for _done, total in seen} == {9}


@pytest.mark.parametrize(("patients", "other"), [(("p1", "p1"), "its patient"), (("p1", "p2"), "the same kernel")])
def test_a_label_that_the_noise_contradicts_is_told(tmp_path, patients, other):
    for number, (patient, dose, noise_hu) in enumerate(zip(patients, ("low_dose", "full_dose"), (20, 60), strict=True)):
        write_series(tmp_path / patient / dose, disc(noise_hu, number), series=f"1.2.826.0.1.{number}")
    report = scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings())
    low = next(row.series for row in report.manifest if row.dose == "low_dose")
    (told,) = (note for note in report.notes if note.startswith(f"series {low} is labelled low dose"))
    assert re.search(rf"its noise is (19|20|21) HU, and (5[89]|6[0-2]) HU in full-dose series of {other}; check", told)


def test_a_dose_that_the_folders_contradict_is_told(tmp_path):
    write_series(tmp_path / "p1" / "full")
    report = scan_sources([Source(tmp_path, dose="low_dose")], tmp_path / "m.csv", SplitSettings())
    (told,) = (note for note in report.notes if "but the names" in note)
    assert told == (
        f"{tmp_path}: dose=low_dose, but the names of 1 of 1 series say full_dose; check the dose of the source"
    )


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (np.zeros((3, 32, 36), np.uint16), "only air"),
        (np.full((3, 32, 36), 1064, np.uint16), "all pixels are 40 HU"),
        (None, "cannot decode the pixels"),
        (stored_body(12) + np.uint16(1024) * (np.arange(12) == 4)[:, None, None], "slice 4 is 1024 HU off"),
    ],
    ids=["air", "constant", "cut off", "a slice off the others"],
)
def test_a_series_that_training_would_refuse_is_left_out_by_name(tmp_path, stored, reason):
    write_series(tmp_path / "good", series="1.2.826.0.1.1")
    files = write_series(tmp_path / "bad", stored, series="1.2.826.0.1.2")
    if stored is None:
        files[0].write_bytes(files[0].read_bytes()[:-900])
    report = scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings())
    assert [row.path for row in report.manifest] == ["good"]
    (left_out,) = (entry for entry in report.skipped if entry.refused)
    assert left_out.path == tmp_path / "bad"
    assert reason in left_out.reason
    with pytest.raises(SeriesError, match=reason):
        scan_sources([Source(tmp_path / "bad")], tmp_path / "m.csv", SplitSettings())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_source_may_say_the_axis_of_its_slices(tmp_path, axis):
    """An array whose sizes do not show its slices is cut as the source says, by the scan and by training."""
    volume = np.stack([body_hu(1)[0, :, :32] + 10 * number for number in range(32)])
    np.save(tmp_path / "ct.npy", np.moveaxis(volume, 0, axis))
    with pytest.raises(SeriesError, match="set slice_axis to 0, 1 or 2"):
        scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings())
    report = scan_sources([Source(tmp_path, slice_axis=axis)], tmp_path / "m.csv", SplitSettings())
    write_manifest(tmp_path / "m.csv", report.manifest)
    (row,) = read_manifest(tmp_path / "m.csv").rows
    assert row.slice_axis == axis
    opened = SliceStore(tmp_path / "store").open_row(row, tmp_path)
    np.testing.assert_array_equal(opened.hu, volume)


def test_two_cuts_of_one_file_are_not_mixed_up_in_the_store(tmp_path):
    volume = np.stack([body_hu(1)[0, :, :32] + 10 * number for number in range(32)])
    np.save(tmp_path / "ct.npy", volume)
    store = SliceStore(tmp_path / "store")
    for axis in (0, 1):
        report = scan_sources([Source(tmp_path / "ct.npy", slice_axis=axis)], tmp_path / "m.csv", SplitSettings())
        opened = store.open_row(report.manifest.rows[0], tmp_path)
        np.testing.assert_array_equal(opened.hu, np.moveaxis(volume, axis, 0))


def test_sources_without_ct_are_all_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "deep" / "readme.txt").write_text("no image")
    sources = [Source(tmp_path / name) for name in ("empty", "texts", "none")]
    with pytest.raises(SeriesError) as caught:
        scan_sources(sources, tmp_path / "m.csv", SplitSettings())
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(
        f"no CT found in {tmp_path / 'empty'} (0 files checked); supported formats are DICOM, NIfTI and npy"
    )
    assert lines[1].startswith(
        f"no CT found in {tmp_path / 'texts'} (1 file checked); ignored 1 file (hidden or not CT images)"
    )
    assert lines[2] == f"{tmp_path / 'none'}: does not exist; give the folder that contains the scans"


def test_the_summary_says_what_to_look_at(tmp_path, monkeypatch, unmeasured):
    infos = [
        replace(PLAIN, path=tmp_path / name, files=(tmp_path / name / "1",), uid=name, kernel=kernel)
        for name, kernel in (("a/low_dose", "B30f"), ("b/full_dose", "D45f"), ("c/what", "D45f"))
    ]
    skipped = [Skipped(tmp_path / str(number), "MR, needs CT") for number in range(3)]
    skipped += [Skipped(tmp_path, f"reason {number}") for number in range(12)]
    monkeypatch.setattr(scan.series_io, "find_series", lambda *_, **__: (infos, skipped))
    report = scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings(train=("a", "b")))
    text = summary(report)
    assert "no split: 1 patient (0 with both doses), 1 series, 0 low-dose and 0 full-dose slices, 4 of unknown" in text
    assert "unknown dose: 1 of 3 series; fill in the column 'dose' of m.csv" in text
    assert "training kernels differ between the doses (low: B30f; full: D45f)" in text
    assert f"skipped:\n  3 x MR, needs CT\n  {tmp_path}: reason 0\n" in text
    assert text.endswith("... and 3 other reasons\n")
    assert summary(report, most=1).splitlines()[2] == "... and 2 more lines"


def test_the_summary_says_what_a_split_makes_impossible(found, tmp_path):
    def said(names, **split):
        found(*names)
        return summary(scan_sources([Source(tmp_path)], tmp_path / "m.csv", SplitSettings(**split)))

    pairs = [f"{patient}/{dose}/1.dcm" for patient in "abcd" for dose in ("low_dose", "full_dose")]
    assert said(pairs, val_fraction=0.1, test_fraction=0.1).endswith("full-dose slices\n")
    text = said(["a/full_dose/1.dcm", "b/low_dose/1.dcm"], test=("b",))
    assert "train has no low_dose series, so training is not possible; name such patients in split.train, set" in text
    assert "test has no patient with matching series of both doses (0 found in total), so evaluation is not" in text
    assert "so evaluation is not possible; assign one in" in text
    text = said(pairs[:4], val_fraction=0.1, test_fraction=0.1)
    assert "split.val_fraction=0.1 selected no one: " in text
    assert "(2 found) that training can spare" in text
    assert "test_fraction" not in text


def test_patients_that_only_a_folder_name_makes_the_same_are_asked_about(tmp_path, monkeypatch, unmeasured):
    def infos(root, *_, **__):
        names = ("001", "002", "L067", "low" if root.name == "a" else "full")
        places = [root / name for name in names]
        return [replace(PLAIN, path=place, files=(place / "1",), uid=str(place)) for place in places], []

    def said(**changes):
        doses = {"a": "low_dose", "b": "full_dose"}
        sources = [Source(tmp_path / name, dose, **changes) for name, dose in doses.items()]
        return summary(scan_sources(sources, tmp_path / "m.csv", SplitSettings()))

    for name in "ab":
        (tmp_path / name).mkdir()
    monkeypatch.setattr(scan.series_io, "find_series", infos)
    assert "patients 001, 002 have both doses, matched by folder or file name only; if" in said()
    assert "matched by" not in said(patient=r"\w+")


def test_all_that_was_left_out_is_listed_in_a_file(tmp_path):
    write_skipped(
        tmp_path / "new" / "skipped.csv", [Skipped(Path("a, b/1.dcm"), "MR, needs CT"), Skipped(Path("c"), "x")]
    )
    assert (tmp_path / "new" / "skipped.csv").read_text() == 'path,reason\n"a, b/1.dcm","MR, needs CT"\nc,x\n'


def test_the_task_lists_what_was_left_out_and_keeps_the_salt_to_itself(tmp_path, monkeypatch, capsys):
    write_series(tmp_path / "in" / "a", changes={"PatientID": PATIENT_ID})
    (tmp_path / "in" / "b.dcm").write_bytes(bytes(128) + b"DICM")
    config = tmp_path / "scan.yaml"
    patients = []
    for salt in ("", "pepper"):
        out = tmp_path / f"out{len(patients)}"
        config.write_text(f"{{task: scan, out: {out}, sources: [{{path: {tmp_path / 'in'}}}]}}")
        monkeypatch.setenv("CTCYCLE_SALT", salt)
        assert main(["--config", str(config)]) == 0
        assert f"all skipped files: {out / 'skipped.csv'}\n" in capsys.readouterr().out
        assert str(tmp_path / "in" / "b.dcm") in (out / "skipped.csv").read_text()
        assert not any(b"pepper" in file.read_bytes() for file in out.rglob("*") if file.is_file())
        patients += read_manifest(out / "manifest.csv").patients
    assert len(set(patients)) == 2


@pytest.mark.parametrize("edited", [False, True])
def test_a_scan_killed_after_its_manifest_goes_on_unless_the_manifest_was_edited(edited, tmp_path, monkeypatch, capsys):
    write_series(tmp_path / "in")
    out, config = tmp_path / "out", tmp_path / "scan.yaml"
    config.write_text(f"{{task: scan, out: {out}, sources: [{{path: {tmp_path / 'in'}}}]}}")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ctcycle.tasks.scan.write_skipped", killed)
        with pytest.raises(KeyboardInterrupt):
            running.run(load_config(config))
    before = (out / "manifest.csv").read_text()
    if edited:
        (out / "manifest.csv").write_text(before.replace("B30f", "B31f"))
    assert main(["--config", str(config)]) == (4 if edited else 0)
    assert (out / "manifest.csv").read_text() == (before.replace("B30f", "B31f") if edited else before)
    assert (out / "finished").exists() == (not edited)
    assert ("may have been edited" in capsys.readouterr().err) == edited


def test_a_new_scan_never_replaces_a_manifest(tmp_path, capsys):
    write_series(tmp_path / "in")
    config, manifest = tmp_path / "scan.yaml", tmp_path / "manifest.csv"
    config.write_text(
        f"{{task: scan, out: {tmp_path / 'out'}, manifest: {manifest}, sources: [{{path: {tmp_path / 'in'}}}]}}"
    )
    manifest.write_text("mine")
    assert main(["--config", str(config)]) == 4
    assert "may have been edited" in capsys.readouterr().err
    assert manifest.read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dose_fraction": 0.0}, "dose_fraction 0.0 is not above 0 and at most 1"),
        ({"dose_fraction": 1.5}, "dose_fraction 1.5 is not above 0 and at most 1"),
        ({"dose": "full_dose", "dose_fraction": 0.25}, "dose_fraction 0.25 contradicts full_dose"),
        ({"patient": "("}, "patient '\\(' is not a regular expression"),
    ],
)
def test_wrong_sources_are_refused(given, message):
    with pytest.raises(ValueError, match=f"^source x: {message}"):
        Source(Path("x"), **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"val_fraction": -0.1}, "val_fraction -0.1 is not at least 0"),
        ({"test_fraction": 1.0}, "test_fraction 1.0 is not at least 0 and below 1"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training data"),
        ({"train": ("A",), "test": ("A", "B")}, "A named twice"),
    ],
)
def test_wrong_split_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=f"^split: .*{message}"):
        SplitSettings(**given)


def test_settings_are_config_sections():
    source = TypeAdapter(Source).validate_python({"path": "scans", "dose": "low_dose"})
    assert source == Source(Path("scans"), "low_dose")
    assert TypeAdapter(SplitSettings).validate_python({"test": ["L506"]}) == SplitSettings(test=("L506",))
    for wrong in ({"path": "scans", "dosis": "low"}, {"path": "scans", "dose": "half"}):
        with pytest.raises(ValidationError):
            TypeAdapter(Source).validate_python(wrong)


@real_data
@pytest.mark.real_data
def test_the_mayo_pairs_are_recognised():
    manifest = scan_sources([Source(REAL / "mayo2016_pairs")], REAL / "m.csv", SplitSettings(test=("L096",))).manifest
    assert sorted((row.patient, row.dose, row.kernel, row.thickness_mm, row.slices) for row in manifest) == [
        ("L067", "full_dose", "B30f", 3.0, 1),
        ("L067", "low_dose", "B30f", 3.0, 1),
        ("L096", "full_dose", "D45f", 3.0, 10),
        ("L096", "low_dose", "D45f", 3.0, 10),
        ("L143", "full_dose", "B30f", 3.0, 7),
        ("L143", "full_dose", "D45f", 3.0, 4),
        ("L143", "low_dose", "B30f", 3.0, 7),
        ("L143", "low_dose", "D45f", 3.0, 4),
    ]
    assert {row.patient for row in manifest.select(split="test")} == {"L096"}


@real_data
@pytest.mark.real_data
def test_the_pairs_among_all_mayo_slices_are_the_known_ones(tmp_path):
    sources = [Source(REAL / "mayo2016_pairs"), Source(REAL / "mayo2016_unpaired")]
    manifest = scan_sources(sources, REAL / "m.csv", SplitSettings()).manifest
    store = SliceStore(tmp_path)
    opened = {row.series: store.open_row(row, manifest.root) for row in manifest}
    pairs = pair_slices(manifest, lambda row: opened[row.series].positions_mm)
    assert len(pairs) == 22
    for low, full in pairs:
        images = [opened[ref.series].hu[ref.slice_index].clip(-1000, 1000).ravel() for ref in (low, full)]
        assert np.corrcoef(*images)[0, 1] > 0.97
