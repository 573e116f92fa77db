import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom_series import body_hu

from ctcycle.ct.series_io import find_series
from ctcycle.inference.own_results import all_results, kind_of, read_results


def test_results_are_kept_while_they_exist_and_new_ones_added(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        (tmp_path / name).touch()
    (tmp_path / "summary.json").write_text(json.dumps({"results": {"a.npy": "denoised", "gone.npy": "denoised"}}))
    found = all_results(tmp_path, [{"denoised": tmp_path / "b.npy", "residual": tmp_path / "never.npy"}])
    assert found == {"a.npy": "denoised", "b.npy": "denoised"}


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"results": [1]}', "[" * 100_000, "\xff"])
def test_other_files_of_that_name_list_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text, encoding="latin-1")
    assert read_results(tmp_path) == {}


def test_a_volume_is_known_by_the_summary_of_any_folder_above(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    np.save(tmp_path / "x" / "y" / "ct.npy", body_hu())
    (info,), _ = find_series(tmp_path)
    assert kind_of(info) == ""
    (tmp_path / "summary.json").write_text(json.dumps({"results": {"x/y/ct.npy": "residual"}}))
    assert kind_of(info) == "residual"
    assert kind_of(replace(info, made_by="denoised")) == "denoised"
