import json
import os
from pathlib import Path
from typing import IO

import pytest

from ctcycle import atomic
from ctcycle.atomic import write_file, write_json, write_text
from ctcycle.errors import OutputError


def test_content_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "µ.txt"
    write_text(path, "σ = 3 px\n")
    assert path.read_text(encoding="utf-8") == "σ = 3 px\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_get_the_rights_that_any_new_file_gets(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a", "")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "state"
    write_text(path, "old")

    def interrupted(stream: IO[bytes]) -> None:
        stream.write(b"ne")
        assert path.read_text() == "old"
        raise error

    with pytest.raises(error):
        write_file(path, interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_output_error_that_says_where_and_why(tmp_path: Path) -> None:
    def full(_stream: IO[bytes]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"state: cannot be written \(No space left on device\); free"):
        write_file(tmp_path / "state", full)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["taken", "file/below", "x" * 300])
def test_impossible_names_are_output_errors(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / name, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]


def test_all_is_on_disk_before_the_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, order = tmp_path / "state", []
    write_text(path, "old")
    monkeypatch.setattr(atomic.os, "fsync", lambda _descriptor: order.append(path.read_text()))
    write_text(path, "new")
    assert order == ["old", "new"]  # the content before the rename, the folder after it


def test_json_is_indented_and_keeps_to_the_standard(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"psnr": 34.5, "rows": [1]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"psnr": 34.5, "rows": [1]}
    assert text.startswith('{\n  "psnr"')
    assert text.endswith("}\n")
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"psnr": float("nan")})
    assert not (tmp_path / "b.json").exists()
