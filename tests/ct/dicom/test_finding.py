from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom_enhanced import write_enhanced
from phantom_series import PATIENT_ID, PATIENT_NAME, change, save, slice_dataset, stored_body, write_series
from pydicom.uid import SecondaryCaptureImageStorage

from ctcycle.ct.dicom import uneven_spacing
from ctcycle.ct.series import SeriesInfo, Skipped, SlicePlane, hashed
from ctcycle.ct.series_io import find_series


def only(root: Path) -> tuple[SeriesInfo, list[Skipped]]:
    found, skipped = find_series(root)
    assert len(found) == 1, skipped
    return found[0], skipped


def reasons(root: Path) -> str:
    return "\n".join(entry.reason for entry in find_series(root)[1])


def test_a_series_is_described_from_its_headers(tmp_path: Path) -> None:
    files = write_series(tmp_path / "a" / "b", names=["x.IMA", "y", "z.dcm"])
    info, skipped = only(tmp_path)
    assert skipped == []
    assert info == SeriesInfo(
        format="dicom",
        path=tmp_path / "a" / "b",
        files=tuple(files),
        uid="1.2.826.0.1.77",
        shape=(3, 32, 36),
        spacing_mm=(2.0, 0.75, 0.5),
        positions_mm=(2.0, 4.0, 6.0),
        kernel="B30f/3",
        thickness_mm=3.0,
        patient_id=PATIENT_ID,
        plane=SlicePlane(
            (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), tuple((-10.0, -20.0, position) for position in (2.0, 4.0, 6.0))
        ),
        study_uid="1.2.826.0.1.7",
        frame_uid="1.2.826.0.1.8",
    )


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_a_plane_needs_position_and_orientation(tmp_path: Path, missing: str) -> None:
    write_series(tmp_path, changes={missing: None})
    info, _ = only(tmp_path)
    assert info.plane is None


def test_order_is_by_position_whatever_names_and_numbers_say(tmp_path: Path) -> None:
    stored = stored_body(4)
    positions = [30.0, -5.0, 12.5, 11.0]
    for index, z in enumerate(positions):
        dataset = slice_dataset(stored[index], number=index + 1)
        dataset.ImagePositionPatient = [0.0, 0.0, z]
        save(dataset, tmp_path / f"{index}.dcm")
    info, _ = only(tmp_path)
    assert [file.name for file in info.files] == ["1.dcm", "3.dcm", "2.dcm", "0.dcm"]
    assert info.positions_mm == (-5.0, 11.0, 12.5, 30.0)
    assert info.spacing_mm[0] == 16.0


def test_order_along_a_tilted_normal(tmp_path: Path) -> None:
    cosine, sine = np.cos(0.3), np.sin(0.3)
    orientation = [1.0, 0.0, 0.0, 0.0, round(cosine, 6), round(-sine, 6)]
    for number in (1, 2):
        dataset = slice_dataset(stored_body()[0], number=number)
        dataset.ImageOrientationPatient = orientation
        dataset.ImagePositionPatient = [0.0, 0.0, -10.0 * number]
        save(dataset, tmp_path / f"{number}.dcm")
    info, _ = only(tmp_path)
    assert [file.name for file in info.files] == ["2.dcm", "1.dcm"]
    assert info.spacing_mm[0] == pytest.approx(10 * cosine, abs=1e-4)


def test_order_by_instance_number_where_positions_are_missing(tmp_path: Path) -> None:
    write_series(tmp_path, names=["c.dcm", "a.dcm", "b.dcm"], changes={"ImagePositionPatient": None})
    info, _ = only(tmp_path)
    assert [file.name for file in info.files] == ["c.dcm", "a.dcm", "b.dcm"]
    assert info.positions_mm == (1.0, 2.0, 3.0)
    assert info.spacing_mm[0] == 0.0


def test_slices_without_any_order_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, changes={"ImagePositionPatient": None, "InstanceNumber": None})
    assert find_series(tmp_path)[0] == []
    assert "order is unknown" in reasons(tmp_path)


def test_two_series_in_one_folder_are_two(tmp_path: Path) -> None:
    write_series(tmp_path, series="1.2.1", names=["1", "3", "5"])
    write_series(tmp_path, series="1.2.2", names=["2", "4", "6"])
    found, skipped = find_series(tmp_path)
    assert [(info.uid, [file.name for file in info.files]) for info in found] == [
        ("1.2.1", ["1", "3", "5"]),
        ("1.2.2", ["2", "4", "6"]),
    ]
    assert skipped == []


def test_one_uid_in_two_folders_is_two_series(tmp_path: Path) -> None:
    write_series(tmp_path / "low_dose")
    write_series(tmp_path / "full_dose")
    assert [info.path.name for info in find_series(tmp_path)[0]] == ["full_dose", "low_dose"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Modality": "MR"}, "MR, not CT"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "Secondary Capture Image Storage, not CT Image Storage"),
        ({"NumberOfFrames": 2}, "2 frames without a position for each"),
        ({"Modality": None, "SOPClassUID": ""}, "not identified as CT: neither Modality nor SOPClassUID"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"PixelData": None}, "no pixel data"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1 with 1 samples per pixel; must be MONOCHROME2"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "RGB with 3 samples"),
        ({"Rows": 65535}, "65535 x 36 pixels; must have 1 to 8192"),
        ({"RescaleSlope": None}, "RescaleSlope or RescaleIntercept is missing"),
        ({"RescaleIntercept": None}, "RescaleSlope or RescaleIntercept is missing"),
        ({"RescaleSlope": 0}, "RescaleSlope or RescaleIntercept is missing"),
        ({"RescaleType": "Z_EFF"}, "RescaleType Z_EFF, not HU"),
    ],
)
def test_what_is_no_ct_slice_is_left_out_with_one_reason(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    write_series(tmp_path, changes=changes)
    found, skipped = find_series(tmp_path)
    assert found == []
    assert len(skipped) == 1
    assert skipped[0].reason.startswith(reason)
    assert "3 files" in skipped[0].reason


@pytest.mark.parametrize(
    "changes",
    [{"Modality": None}, {"SOPClassUID": ""}, {"SOPInstanceUID": ""}, {"RescaleType": "Houndsfield Unit"}],
)
def test_what_real_archives_leave_out_is_survived(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_series(tmp_path, changes=changes)
    assert only(tmp_path)[0].shape == (3, 32, 36)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": 31}, "slices differ in size: 32 x 36 (2), 31 x 36 (1)"),
        ({"PixelSpacing": [0.75, 0.51]}, "slices differ in pixel spacing"),
        ({"ImageOrientationPatient": [0.995, 0.0998, 0.0, -0.0998, 0.995, 0.0]}, "slices differ in orientation"),
        ({"PatientID": "ANOTHER"}, "more than one patient or study in a series"),
    ],
)
def test_a_slice_that_does_not_fit_refuses_the_series(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    files = write_series(tmp_path)
    dataset = slice_dataset(stored_body()[2], number=3)
    change(dataset, changes)
    save(dataset, files[2])
    found, skipped = find_series(tmp_path)
    assert found == []
    assert len(skipped) == 1
    assert reason in skipped[0].reason
    assert "1.2.826.0.1.77" not in skipped[0].reason
    assert f"series {hashed('1.2.826.0.1.77', 16)}: " in skipped[0].reason


def test_a_localizer_of_the_same_series_is_known_by_lying_across(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    dataset = slice_dataset(stored_body()[0], number=9)
    dataset.ImageOrientationPatient = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
    localizer = save(dataset, tmp_path / "0000.dcm")
    info, skipped = only(tmp_path)
    assert info.files == tuple(files)
    assert [(entry.path, entry.reason.split(":")[0]) for entry in skipped] == [(localizer, "localizer")]


def test_a_copy_is_dropped_and_said(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    copy = tmp_path / "9999.dcm"
    copy.write_bytes(files[1].read_bytes())
    info, skipped = only(tmp_path)
    assert info.files == tuple(files)
    assert [entry.path for entry in skipped] == [copy]
    assert "byte-for-byte copy" in skipped[0].reason


def test_gaps_are_accepted_and_can_be_told(tmp_path: Path) -> None:
    files = write_series(tmp_path, stored_body(9))
    assert uneven_spacing(only(tmp_path)[0]) == ""
    files[2].unlink()
    info, _ = only(tmp_path)
    assert info.positions_mm == (2.0, 4.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0)
    assert "slices 2 and 3 are 4 mm apart, most others 2 mm; a slice may be missing" in uneven_spacing(info)
    files[4].unlink()
    assert "most others 2 mm (2 uneven gaps in total)" in uneven_spacing(only(tmp_path)[0])


@pytest.mark.parametrize("changes", [{"ImagePositionPatient": None}, {"SliceThickness": 1.0}])
def test_spacing_that_is_even_or_unknown_is_not_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_series(tmp_path, stored_body(4), changes=changes)
    assert uneven_spacing(only(tmp_path)[0]) == ""


@pytest.mark.parametrize("kept", [0, 131, 140, 400])
def test_a_cut_header_among_good_files_is_named(tmp_path: Path, kept: int) -> None:
    files = write_series(tmp_path)
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(files[0].read_bytes()[:kept])
    info, skipped = only(tmp_path)
    assert info.files == tuple(files)
    assert [entry.path for entry in skipped] == [broken]


def test_random_bytes_behind_the_mark_are_survived(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for number in range(40):
        tail = rng.integers(0, 256, 300, dtype=np.uint8).tobytes()
        (tmp_path / f"{number}.dcm").write_bytes(b"\0" * 128 + b"DICM" + tail)
    found, skipped = find_series(tmp_path)
    assert found == []
    assert skipped


def test_flipped_bytes_in_a_header_are_survived(tmp_path: Path) -> None:
    content = write_series(tmp_path / "good")[0].read_bytes()
    rng = np.random.default_rng(6)
    for number in range(60):
        damaged = bytearray(content)
        for place in rng.integers(132, 1200, 4):
            damaged[place] = int(rng.integers(0, 256))
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / "bad" / f"{number}.dcm").write_bytes(damaged)
    find_series(tmp_path / "bad")


def test_dicom_without_its_file_header_is_named(tmp_path: Path) -> None:
    file = write_series(tmp_path)[0]
    file.write_bytes(file.read_bytes()[132:])
    (tmp_path / "headless.dat").write_bytes(b"\x08\x00\x05\x00CS")
    assert reasons(tmp_path).count("missing 'DICM' prefix") == 2


def test_no_identity_in_any_reason_or_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "a", changes={"Modality": "MR"})
    write_series(tmp_path / "b", changes={"RescaleSlope": None})
    write_series(tmp_path / "c", changes={"PixelData": None})
    files = write_series(tmp_path / "d")
    dataset = slice_dataset(stored_body()[2], number=3)
    dataset.PatientName = "ZZCANARY^OTHER"
    save(dataset, files[2])
    (tmp_path / "e.dcm").write_bytes(files[0].read_bytes()[:420])
    text = repr(find_series(tmp_path)[1]) + "".join(capfd.readouterr())
    assert text.count("Skipped(") == 5
    assert "CANARY" not in text
    assert PATIENT_NAME not in text


def test_images_at_one_position_are_all_kept_and_told_of(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    again = slice_dataset(stored_body(4)[3], number=2)
    again.SOPInstanceUID = "1.2.826.0.1.9"
    save(again, tmp_path / "again.dcm")
    (info,), skipped = find_series(tmp_path)
    assert skipped == []
    assert set(info.files) == {*files, tmp_path / "again.dcm"}
    assert info.positions_mm.count(4.0) == 2
    assert not info.is_volume
    assert info.notes[0].startswith("has 4 images at 3 positions")


@pytest.mark.parametrize("apart", [True, False], ids=["at different positions", "at one position"])
def test_one_uid_for_different_images_is_told_and_each_is_kept(tmp_path: Path, apart: bool) -> None:
    changes: dict[str, Any] = {"SOPInstanceUID": "1.2.826.0.1.9", "PixelSpacing": [0.7, 0.7]}
    write_series(tmp_path, changes=changes if apart else {**changes, "ImagePositionPatient": [0.0, 0.0, 0.0]})
    info, _ = only(tmp_path)
    assert len(info.files) == 3
    assert info.notes[-1].startswith("has 3 files, but 1 different SOPInstanceUIDs; each result gets its own")
    assert len(info.notes) == (1 if apart else 2)


def test_frames_of_one_file_share_its_uid(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "all.dcm", stored_body())
    info, _ = only(tmp_path)
    assert "SOPInstanceUID" not in "".join(info.notes)


@pytest.mark.parametrize(
    ("spacing", "said"), [([0.7, 0.7], False), ([0.7, 0.7005], False), ([5.0, 0.78], True), ([0.78, 5.0], True)]
)
def test_pixels_that_are_not_square_are_told(tmp_path: Path, spacing: list[float], said: bool) -> None:
    write_series(tmp_path, changes={"PixelSpacing": spacing})
    info, _ = only(tmp_path)
    found = f"has pixels of {spacing[0]:.3g} x {spacing[1]:.3g} mm, but denoisers are trained on square ones"
    assert [note.partition(";")[0] for note in info.notes] == [found] * said


@pytest.mark.parametrize("spacing", [[-0.7, 0.7], [0.7, 0.0], None])
def test_a_pixel_spacing_or_thickness_that_is_not_above_0_is_unknown(
    tmp_path: Path, spacing: list[float] | None
) -> None:
    write_series(tmp_path, changes={"PixelSpacing": spacing, "SliceThickness": -3.0})
    info, _ = only(tmp_path)
    assert info.spacing_mm[1:] == (0.0, 0.0)
    assert info.thickness_mm == 0.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PixelPaddingValue": 0}, ""),
        ({"PixelPaddingValue": 1064}, "declares 40 HU as padding, which tissue can have"),
        (
            {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095},
            "declares -1024 to 3071 HU as padding, which includes tissue; the declaration is ignored",
        ),
        ({"PixelPaddingValue": 63536}, ""),
    ],
)
def test_padding_that_tissue_can_have_is_told(tmp_path: Path, changes: dict[str, int], says: str) -> None:
    write_series(tmp_path, changes={**changes, "PixelSpacing": [0.7, 0.7]})
    info, _ = only(tmp_path)
    assert len(info.notes) == bool(says)
    assert "".join(info.notes).startswith(says)


def test_study_and_frame_of_reference_are_known(tmp_path: Path) -> None:
    write_series(tmp_path)
    info, _ = only(tmp_path)
    assert (info.study_uid, info.frame_uid) == ("1.2.826.0.1.7", "1.2.826.0.1.8")
