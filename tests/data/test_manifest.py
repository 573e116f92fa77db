import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctcycle.data.manifest import (
    COLUMNS,
    MAX_PROBLEMS,
    Manifest,
    ManifestRow,
    read_manifest,
    series_name,
    stored_path,
    survives,
    write_manifest,
)
from ctcycle.errors import ManifestError

ROW = ManifestRow(
    series="a00000000001",
    patient="L067",
    dose="low_dose",
    dose_fraction=0.25,
    kernel="B30f",
    thickness_mm=3.0,
    spacing_mm=0.6640625,
    rows=512,
    columns=512,
    slices=5,
    split="train",
    format="dicom",
    path="L067/quarter_3mm",
    uid="1.2.3",
)
FULL = replace(ROW, series="a00000000002", dose="full_dose", dose_fraction=1.0, path="L067/full_3mm", uid="1.2.4")
UNKNOWN = replace(
    ROW,
    series="a00000000003",
    patient="p-0123456789",
    dose="",
    dose_fraction=None,
    kernel="",
    thickness_mm=0.0,
    spacing_mm=0.0,
    split="test",
    format="npy",
    uid="",
)
HEADER = ",".join(COLUMNS)
LINE = "a00000000001,L067,low_dose,0.25,B30f,3,0.6640625,512,512,5,train,dicom,L067/quarter_3mm,1.2.3"


def written(folder: Path, *lines: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    return [line.removeprefix(str(path)) for line in str(caught.value).splitlines()]


def test_the_columns_are_those_that_files_have():
    assert HEADER == (
        "series,patient,dose,dose_fraction,kernel,thickness_mm,spacing_mm,rows,columns,slices,split,format,path,uid"
    )


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    manifest = Manifest(tmp_path / "manifest.csv", (ROW, FULL, UNKNOWN))
    write_manifest(manifest.path, manifest)
    assert manifest.path.read_text().splitlines()[:2] == [HEADER, LINE]
    assert read_manifest(manifest.path) == manifest
    assert list(tmp_path.iterdir()) == [manifest.path]


cells = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)


@given(patient=cells, kernel=cells, spacing=st.floats(0, 10), fraction=st.floats(1e-6, 1), folder=cells)
def test_any_text_and_number_survives_the_file(tmp_path_factory, patient, kernel, spacing, fraction, folder):
    path = tmp_path_factory.getbasetemp() / "any" / "manifest.csv"
    row = replace(ROW, patient=patient, kernel=kernel, spacing_mm=spacing, dose_fraction=fraction)
    row = replace(row, path=stored_path(path.parent / folder, path.parent))
    write_manifest(path, Manifest(path, (row,)))
    assert read_manifest(path).rows == (row,)


def test_a_file_saved_by_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "manifest.csv"
    row = LINE.replace(",", " ; ").replace("0.25", "0,25").replace("3 ; 0.66", "3,0 ; 0,66")
    text = f"{HEADER.replace(',', ';')}\r\n;;;;;;;;;;;;;\r\n\r\n  {row};;\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_manifest(path).rows == (ROW,)
    path.write_text(f"{HEADER}\n{LINE}\n".replace(",", "\t"))
    assert read_manifest(path).rows == (ROW,)


def test_columns_may_be_in_any_order(tmp_path):
    path = written(tmp_path, ",".join(reversed(COLUMNS)), ",".join(reversed(LINE.split(","))))
    assert read_manifest(path).rows == (ROW,)


def test_all_problems_are_told_at_once_with_their_place(tmp_path):
    bad = "a00000000002,,half,2,B30f,thin,-1,0,5.5,five,dev,tiff,,1.2.3"
    found = problems(written(tmp_path, HEADER, LINE, "", bad, LINE, LINE.replace("train", "test"), "a,b"))
    assert found == [
        ":4: column 'patient': the empty cell is not allowed; fill it in",
        ":4: column 'dose': 'half' is not allowed; choose one of low_dose, full_dose, empty",
        ":4: column 'dose_fraction': '2' is not above 0 and at most 1; leave it empty if unknown",
        ":4: column 'thickness_mm': 'thin' is not a number",
        ":4: column 'spacing_mm': '-1' is not a length in mm; leave it empty if unknown",
        ":4: column 'rows': '0' is not a whole number above 0",
        ":4: column 'columns': '5.5' is not a whole number above 0",
        ":4: column 'slices': 'five' is not a whole number above 0",
        ":4: column 'split': 'dev' is not allowed; choose one of train, val, test, empty",
        ":4: column 'format': 'tiff' is not allowed; choose one of dicom, nifti, npy",
        ":4: column 'path': the empty cell is not allowed; fill it in",
        ":7: found 2 cells, the header has 14; quote cells that contain the delimiter",
        ":5: series 'a00000000001' is already on line 2; remove one of the two lines",
        ":6: series 'a00000000001' is already on line 2; remove one of the two lines",
        ":6: the patient is in split 'test' here, but 'train' on line 2; choose one",
    ]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_are_finite(tmp_path, number):
    assert problems(written(tmp_path, HEADER, LINE.replace(",3,", f",{number},"))) == [
        f":2: column 'thickness_mm': '{number}' is not a length in mm; leave it empty if unknown"
    ]


def test_long_lists_of_problems_are_cut(tmp_path):
    found = problems(written(tmp_path, HEADER, *["x"] * (MAX_PROBLEMS + 7)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == ": 7 more problems"


def test_a_patient_left_out_in_one_series_is_no_contradiction(tmp_path):
    unused = LINE.replace("a00000000001", "b00000000001").replace("train", "")
    assert [row.split for row in read_manifest(written(tmp_path, HEADER, unused, LINE))] == ["", "train"]


def test_columns_are_checked_first(tmp_path):
    header = HEADER.replace("kernel", "kernal").replace("uid", "dose")
    assert problems(written(tmp_path, header, "x")) == [
        ":1: duplicate column 'dose'",
        ":1: unknown column 'kernal'; did you mean 'kernel'?",
        ":1: missing columns: kernel, uid",
    ]
    assert problems(written(tmp_path, HEADER + ",zzz", "x")) == [
        f":1: unknown column 'zzz'; allowed: {', '.join(COLUMNS)}"
    ]


def test_files_that_are_no_manifest_say_so(tmp_path):
    missing = ": cannot read (No such file or directory); scan the data to create a manifest"
    assert problems(tmp_path / "none.csv") == [missing]
    assert problems(written(tmp_path, ""))[0].startswith(":1: the file is empty")
    assert problems(written(tmp_path, HEADER)) == [":1: no series after the header; scan the data again"]
    path = tmp_path / "excel.csv"
    path.write_bytes(HEADER.encode("utf-16"))
    assert problems(path) == [": is not UTF-8 text; save it as 'CSV UTF-8'"]


def test_select_takes_what_fits_everything(tmp_path):
    manifest = Manifest(tmp_path / "m.csv", (ROW, FULL, UNKNOWN))
    assert manifest.select().rows == manifest.rows
    assert manifest.select(dose="").rows == (UNKNOWN,)
    assert manifest.select(dose="full_dose", split="train", kernel="B30f", patients={"L067"}).rows == (FULL,)
    assert manifest.select(split="train").rows == (ROW, FULL)
    assert manifest.select(dose="full_dose", kernel="D45f").rows == ()
    assert manifest.select(patients=[]).rows == ()
    assert manifest.select(split="test").patients == ("p-0123456789",)


def test_paths_follow_the_manifest_to_another_folder(tmp_path):
    manifest = Manifest(tmp_path / "data" / "manifest.csv", (ROW,))
    copy = tmp_path / "runs" / "one" / "manifest.csv"
    write_manifest(copy, manifest)
    read = read_manifest(copy)
    assert read.rows[0].path == "../../data/L067/quarter_3mm"
    assert (read.root / read.rows[0].path).resolve() == tmp_path / "data" / "L067" / "quarter_3mm"


def test_paths_without_a_common_folder_stay_absolute(tmp_path):
    assert stored_path(Path("/elsewhere/scans/1"), tmp_path) == "/elsewhere/scans/1"
    assert stored_path(tmp_path / "x" / ".." / "y", tmp_path) == "y"
    assert stored_path(tmp_path, tmp_path) == "."


def test_series_names_are_stable_and_no_spreadsheet_takes_them_for_numbers():
    names = [series_name("dicom", f"L{number:03}", "1.2") for number in range(500)]
    assert len(set(names)) == 500
    assert all(len(name) == 12 and name[0] in "abcdef" and int(name, 16) for name in names)
    assert names[67] == series_name("dicom", "L067", "1.2")
    assert len({series_name("dicom", "a", ""), series_name("npy", "a", ""), series_name("dicom", "a", "1")}) == 3


@pytest.mark.parametrize("name", ["L067 ", "\u00a0L067", "L067\t", "a\rb", "a\r\nb"])
def test_a_row_that_reads_back_differently_does_not_survive(name):
    assert survives(ROW)
    assert survives(replace(ROW, path='with blank, comma and "quote"', kernel="größer"))
    assert not survives(replace(ROW, path=name))


@pytest.mark.parametrize("spacing", [float("nan"), float("inf"), -1.0])
def test_a_length_that_no_manifest_may_have_does_not_survive(spacing):
    assert not survives(replace(ROW, spacing_mm=spacing))


@pytest.mark.parametrize(
    "line",
    [LINE.replace("L067,", '"L067,', 1), LINE.replace("L067,", '"L"067,', 1), LINE.replace("B30f", "x" * 131_073)],
    ids=["a quote that is not closed", "a quote in the middle", "a cell of 128 KiB"],
)
def test_a_line_that_is_no_csv_is_one_sentence(tmp_path, line):
    (problem,) = problems(written(tmp_path, HEADER, line))
    assert re.fullmatch(r": line \d+: .{10,90}; check the quotes and the length of its cells", problem)
