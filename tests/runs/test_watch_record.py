from pathlib import Path

import pytest

from ctcycle.errors import BundleError
from ctcycle.runs.watch_record import WatchRecord, read_watch

GOOD = WatchRecord(False, [], {"removed": 0.957, "contrast": 0.451, "shift_soft_hu": 0.3}, {"epoch": 8})
BAD = WatchRecord(True, ["the denoiser shifts air by -20.0 HU; raise x", "it blurs"], {}, {"epoch": 3})


@pytest.mark.parametrize("record", [GOOD, BAD])
def test_what_is_written_is_read(record: WatchRecord, tmp_path: Path) -> None:
    record.write(tmp_path)
    assert read_watch(tmp_path) == record


def test_one_sentence_says_what_was_measured_or_what_is_wrong() -> None:
    start = "Measured at the end of training, without pairs: "
    assert GOOD.sentence == (
        f"{start}96% of the noise that low dose has beyond full dose is removed, 45% of the contrast of inserted 3 mm "
        "discs is kept, soft tissue shifts by +0.3 HU, all within the limits of training.watch."
    )
    faults = "the denoiser shifts air by -20.0 HU; raise x; it blurs"
    assert BAD.sentence == f"{start}{faults}; the best checkpoint is of epoch 3."


def test_a_run_that_was_not_watched_has_none(tmp_path: Path) -> None:
    assert read_watch(tmp_path) is None


def test_records_of_earlier_versions_lack_the_measures(tmp_path: Path) -> None:
    (tmp_path / "watch.json").write_text('{"failed": false, "faults": [], "best": {}}')
    record = read_watch(tmp_path)
    assert record is not None
    assert record.sentence == (
        "Measured at the end of training, without pairs: all within the limits of training.watch."
    )


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_record_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "watch.json").write_text(text)
    with pytest.raises(BundleError, match=r"watch\.json: damaged; delete it, or train again"):
        read_watch(tmp_path)
