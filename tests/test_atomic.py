import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from ctcycle import atomic
from ctcycle.atomic import new_folder, remove_partial_folders, write_file, write_json, write_text
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

    with pytest.raises(OutputError, match=r"state: cannot write \(No space left on device\); free up space"):
        write_file(tmp_path / "state", full)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["taken", "file/below", "x" * 300])
def test_impossible_names_are_output_errors(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
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


def entries(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with a file in it, alone in its own."""
    (tmp_path / "new" / "out").mkdir(parents=True)
    (tmp_path / "new" / "out" / "old").touch()
    return tmp_path / "new" / "out"


@pytest.mark.parametrize("place", ["here", "new/deep", "empty"])
def test_a_new_folder_has_no_name_until_it_is_complete(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / place) as folder:
        (folder / "file").touch()
        assert folder.name.startswith(".")
        assert folder.parent == (tmp_path / place).parent
        assert not (tmp_path / place / "file").exists()
    assert entries(tmp_path / place) == ["file"]
    assert [path.name for path in (tmp_path / place).parent.iterdir() if path.name.startswith(".")] == []


def test_a_folder_is_replaced_only_where_that_is_allowed(out: Path) -> None:
    with (
        pytest.raises(OutputError, match="out: exists and is not empty; choose another name or allow"),
        new_folder(out),
    ):
        pytest.fail("filled in vain")
    with new_folder(out, may_replace=True) as folder:
        (folder / "file").touch()
        assert entries(out) == ["old"]
    assert entries(out.parent) == ["out", "out/file"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OutputError])
def test_a_folder_that_fails_leaves_the_earlier_one_and_nothing_else(out: Path, error: type[BaseException]) -> None:
    def fill(folder: Path) -> None:
        (folder / "file").touch()
        raise error

    with pytest.raises(error), new_folder(out, may_replace=True) as folder:
        fill(folder)
    assert entries(out.parent) == ["out", "out/old"]


def test_a_folder_that_cannot_take_its_name_leaves_the_earlier_one(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match=r"out: cannot write \(No space left"), new_folder(out, may_replace=True):
        pass
    assert entries(out.parent) == ["out", "out/old"]


def test_what_comes_to_be_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="out: cannot write"), new_folder(tmp_path / "out"):
        (tmp_path / "out" / "thesis").mkdir(parents=True)
    assert entries(tmp_path) == ["out", "out/thesis"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_never_replaced(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        (tmp_path / "out").touch()
    else:
        (tmp_path / "out").symlink_to("elsewhere")
    with pytest.raises(OutputError, match="exists and is not a folder"), new_folder(tmp_path / "out", may_replace=True):
        pytest.fail("filled in vain")
    assert entries(tmp_path) == ["elsewhere", "out"]


def test_what_a_killed_process_leaves_is_removed_and_nothing_else(out: Path) -> None:
    code = "import os, sys; from pathlib import Path; from ctcycle.atomic import new_folder\n"
    code += "with new_folder(Path(sys.argv[1]), may_replace=True) as folder:\n"
    code += "    (folder / 'file').touch(); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code, out], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(out.parent.iterdir())) == 2
    for name in (".git", ".out.earlier-0123abcd", ".out.partial-", ".note.partial-0123abcd"):
        (out.parent / name).touch() if name.startswith(".note") else (out.parent / name).mkdir()
    remove_partial_folders(out.parent)
    expected = [".git", ".note.partial-0123abcd", ".out.earlier-0123abcd", ".out.partial-", "out", "out/old"]
    assert entries(out.parent) == expected
