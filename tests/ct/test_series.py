"""Series: what tells them apart."""

import re
from dataclasses import replace
from pathlib import Path

from ctcycle.ct.series import SeriesInfo, series_uid


def test_npy_slices_are_told_apart_by_their_names() -> None:
    folder = Path("npy")
    info = SeriesInfo("npy", folder, (folder / "L067_0_input_12.npy",), "", (1, 8, 8), (0, 0, 0), (12,), "", 0, "")
    assert series_uid(info) == "L067_0_input_#"
    assert series_uid(replace(info, files=(folder / "12.npy",))) == "#"
    assert series_uid(replace(info, path=info.files[0])) == ""


def test_a_dicom_uid_is_stored_as_a_hash() -> None:
    place = Path("folder")
    info = SeriesInfo("dicom", place, (place / "1",), "", (1, 8, 8), (0, 0, 0), (0,), "", 0, "")
    hashes = [series_uid(replace(info, uid=f"1.3.12.2.1107.{number}")) for number in range(200)]
    assert len(set(hashes)) == 200
    assert all(re.fullmatch("[a-f][0-9a-f]{15}", one) for one in hashes)
    assert hashes[7] == series_uid(replace(info, uid="1.3.12.2.1107.7", path=place / "1"))
