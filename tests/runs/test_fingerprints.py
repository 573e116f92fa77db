"""The fingerprint in a run folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from ctcycle.errors import BundleError
from ctcycle.inference.fingerprint import measure_fingerprint
from ctcycle.runs import fingerprints
from ctcycle.runs.fingerprints import (
    MAX_BYTES,
    measure_volumes,
    read_kept_fingerprint,
    read_run_fingerprint,
    write_fingerprint,
)

VOLUMES = [np.random.default_rng(seed).normal(0, 100, (3, 40, 50)).astype(np.int16) for seed in range(2)]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_run_fingerprint(tmp_path) is None
    write_fingerprint(tmp_path, VOLUMES)
    assert repr(read_run_fingerprint(tmp_path)) == repr(measure_fingerprint(np.concatenate(VOLUMES).astype(np.float32)))
    assert [path.name for path in tmp_path.iterdir()] == ["fingerprint.json"]


def test_many_slices_are_measured_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "MEASURED", 3)
    slices = np.concatenate(VOLUMES).astype(np.float32)
    assert repr(measure_volumes(VOLUMES)) == repr(measure_fingerprint(slices[[0, 2, 5]]))
    with pytest.raises(ValueError, match="at least one slice"):
        measure_volumes([])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{}", r"not a fingerprint \(ValueError\)"),
        ("[" * 500_000, r"not a fingerprint \(RecursionError\)"),
        ("{" + " " * MAX_BYTES + "}", r"not a fingerprint \(larger than 1048576 bytes\)"),
    ],
)
def test_damage_is_told_in_a_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "fingerprint.json"
    path.write_text(content)
    with pytest.raises(BundleError, match=sentence):
        read_kept_fingerprint(path)
    with pytest.raises(BundleError, match=r"fingerprint\.json: damaged; delete it to denoise without checking"):
        read_run_fingerprint(tmp_path)


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    write_fingerprint(tmp_path, VOLUMES)
    found = json.loads((tmp_path / "fingerprint.json").read_text())
    assert set(found) == {"noise_hu", "correlation", "histogram_edges_hu", "histogram"}
