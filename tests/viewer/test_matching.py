"""Which denoised series belongs to which source."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from noisy_series import write_npy
from phantom_series import write_series

from ctcycle.ct.dicom import Derivation
from ctcycle.ct.series_io import find_series, write_corrected
from ctcycle.errors import SeriesError
from ctcycle.inference.output_paths import with_output_paths
from ctcycle.viewer.matching import match_series


def denoised(source: Path, out: Path) -> Path:
    """Write every series of a folder as `denoise` does, 5 HU brighter."""
    found, _skipped = find_series(source)
    for info, paths in with_output_paths(found, source, out, ("denoised",)):
        path = paths["denoised"]
        path.parent.mkdir(parents=True, exist_ok=True)
        correction = (np.full(info.shape[1:], 5.0, dtype=np.float32) for _ in range(info.shape[0]))
        write_corrected(info, correction, path, Derivation("0", "test", "0"))
    results = {path.relative_to(out).as_posix(): "denoised" for path in out.rglob("*") if path.is_dir()}
    (out / "summary.json").write_text(json.dumps({"results": results}))
    return out


def test_results_of_denoise_in_all_formats(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a" / "dicom")
    write_npy(tmp_path / "in" / "b" / "npy", 10.0)
    np.save(tmp_path / "in" / "volume.npy", np.load(tmp_path / "in" / "b" / "npy" / "slice_1.npy")[None].repeat(4, 0))
    matches, missing = match_series(tmp_path / "in", denoised(tmp_path / "in", tmp_path / "out"))
    assert missing == 0
    assert len(matches) == 3
    for match in matches:
        assert match.before.shape == match.after.shape
        assert match.before.format == match.after.format
        assert match.after.path.is_relative_to(tmp_path / "out")


def test_series_without_a_result_are_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_npy(tmp_path / "in" / name, 10.0)
    shutil.rmtree(denoised(tmp_path / "in", tmp_path / "out") / "b")
    matches, missing = match_series(tmp_path / "in", tmp_path / "out")
    assert (len(matches), missing) == (1, 1)


def test_results_of_another_program_match_by_their_shape(tmp_path: Path) -> None:
    write_npy(tmp_path / "in" / "a", 10.0)
    write_npy(tmp_path / "theirs" / "anything", 5.0)
    ((match,), missing) = match_series(tmp_path / "in", tmp_path / "theirs")
    assert (match.after.path.name, missing) == ("anything", 0)


def test_what_cannot_be_matched(tmp_path: Path) -> None:
    write_npy(tmp_path / "in" / "a", 10.0)
    with pytest.raises(SeriesError, match="does not exist"):
        match_series(tmp_path / "in", tmp_path / "nowhere")
    write_npy(tmp_path / "other" / "b", 10.0, slices=2)
    with pytest.raises(SeriesError, match="holds no result of the 1 series"):
        match_series(tmp_path / "in", tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeriesError, match="no CT found"):
        match_series(tmp_path / "empty", tmp_path / "other")
