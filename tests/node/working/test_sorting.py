"""What is denoised, and why the rest is not."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from node_peers import make_series
from phantom_series import save, slice_dataset, stored_body, write_series

from ctcycle.node.working.sorting import Sorted, body_part, sort_files


def kinds(found: Sorted) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for other in found.others:
        counts[other.kind] += len(other.files)
    return dict(counts)


def test_a_ct_series_is_denoised(tmp_path: Path) -> None:
    make_series(tmp_path, 1, changes={"BodyPartExamined": "ABDOMEN"})
    found = sort_files(tmp_path)
    assert [info.shape[0] for info in found.series] == [3]
    assert found.others == ()
    assert body_part(found.series[0]) == "ABDOMEN"


def test_a_localizer_beside_the_slices(tmp_path: Path) -> None:
    write_series(tmp_path)
    scout = slice_dataset(stored_body(1)[0], number=9)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(scout, tmp_path / "scout.dcm")
    found = sort_files(tmp_path)
    assert len(found.series) == 1
    assert kinds(found) == {"localizer": 1}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "not_ct"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SeriesDescription": "PreMonitoring"}, "bolus"),
        ({"SeriesDescription": "Abdomen ct_denoiser x1 ctcycle denoised"}, "own"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "refused"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_denoised(tmp_path: Path, changes: dict[str, object], kind: str) -> None:
    write_series(tmp_path, changes=changes)
    found = sort_files(tmp_path)
    assert found.series == ()
    assert kinds(found) == {kind: 3}
    assert all(other.reason for other in found.others)


def test_one_position_again_and_again_is_a_bolus_tracker(tmp_path: Path) -> None:
    for number in range(1, 5):
        dataset = slice_dataset(stored_body(1, dtype="uint16")[0] + np.uint16(number), number=number)
        dataset.ImagePositionPatient = [0.0, 0.0, 5.0]
        save(dataset, tmp_path / f"{number}.dcm")
    assert kinds(sort_files(tmp_path)) == {"bolus": 4}


def test_a_damaged_slice_is_a_gap(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    content = files[1].read_bytes()
    files[1].write_bytes(content[:300])
    found = sort_files(tmp_path)
    assert found.series == ()
    assert set(kinds(found)) == {"refused"}
    assert sum(kinds(found).values()) == 3


def test_no_identity_in_any_reason(tmp_path: Path) -> None:
    write_series(tmp_path / "a", changes={"Modality": "MR"})
    write_series(tmp_path / "b", changes={"RescaleSlope": None})
    said = " ".join(other.reason for folder in ("a", "b") for other in sort_files(tmp_path / folder).others)
    assert "CANARY" not in said
    assert "1.2.826" not in said
