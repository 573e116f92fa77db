import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from ctcycle import atomic
from ctcycle.atomic import file_digests, new_folder, remove_leftovers, staged, write_file, write_json, write_text
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


WRITERS = {
    "folder": "with new_folder(out, may_replace=True) as folder:\n    (folder / 'file').touch(); {then}",
    "staged": "with staged(out, may_replace=True) as path:\n    path.mkdir(); (path / 'file').touch(); {then}",
    "file": "write_file(out / 'image', lambda stream: (stream.write(b'pixels'), stream.flush(), {then}))",
}
STARTS = "import os, sys; from pathlib import Path; from ctcycle.atomic import new_folder, staged, write_file\n"
STARTS += "out = Path(sys.argv[1])\n"


def started(writer: str, then: str, out: Path) -> subprocess.Popen[str]:
    """A process that writes to ``out`` and then does something."""
    code = STARTS + WRITERS[writer].format(then=then)
    return subprocess.Popen([sys.executable, "-c", code, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def killed(writer: str, out: Path) -> None:
    process = started(writer, "os.kill(os.getpid(), 9)", out)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("writer", WRITERS)
def test_what_a_killed_process_leaves_is_removed_and_nothing_else(writer: str, out: Path) -> None:
    killed(writer, out)
    assert any(".partial-" in name for name in entries(out.parent))
    foreign = [".git", ".note", ".out.earlier-", ".out.lock", ".out.partial-", ".out.template", ".x.partial-012"]
    for name in foreign:
        (out.parent / name).touch()
    (out.parent / ".link.partial-01234567").symlink_to(out)
    remove_leftovers(out.parent, below=True)
    assert entries(out.parent) == sorted([*foreign, ".link.partial-01234567", "out", "out/old"])


@pytest.mark.parametrize("writer", WRITERS)
def test_what_a_living_process_writes_is_left_alone(writer: str, out: Path) -> None:
    then = "(sys.stdout.write('ready\\n'), sys.stdout.flush(), sys.stdin.read())"
    with started(writer, then, out) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        before = entries(out.parent)
        assert any(".partial-" in name for name in before)
        remove_leftovers(out.parent, below=True)
        assert entries(out.parent) == before
        if writer != "file":
            with pytest.raises(OutputError, match="out: another process is writing it; wait for it") as error:
                write_beside(out)
            assert error.value.exit_code == 4
        process.communicate()
    assert process.returncode == 0
    assert entries(out.parent) == (["out", "out/image", "out/old"] if writer == "file" else ["out", "out/file"])


def write_beside(out: Path) -> None:
    with new_folder(out, may_replace=True):
        pytest.fail("two writers at once")


def test_the_next_writer_of_a_folder_removes_what_a_killed_one_left(out: Path) -> None:
    killed("folder", out)
    killed("folder", out.with_name("other"))
    with new_folder(out, may_replace=True) as folder:
        (folder / "new").touch()
    left = [name for name in entries(out.parent) if not name.startswith(".other.")]
    assert left == ["out", "out/new"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_moved_away_for_its_replacement_is_put_back_if_that_never_came(replaced: bool, out: Path) -> None:
    earlier = out.with_name(".out.earlier-0123abcd") / "out"
    earlier.mkdir(parents=True)
    (earlier / "earlier").touch()
    if not replaced:
        (out / "old").unlink()
        out.rmdir()
    remove_leftovers(out.parent)
    assert entries(out.parent) == (["out", "out/old"] if replaced else ["out", "out/earlier"])


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127])
def test_names_as_long_as_the_file_system_allows(name: str, tmp_path: Path) -> None:
    write_text(tmp_path / "files" / name, "text")
    with staged(tmp_path / "folders" / name) as path:
        path.mkdir()
        (path / "file").touch()
    assert entries(tmp_path) == sorted(["files", f"files/{name}", "folders", f"folders/{name}", f"folders/{name}/file"])


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_staged_takes_its_place_at_the_end(kind: str, tmp_path: Path) -> None:
    def make(text: str, *, may_replace: bool = False) -> None:
        with staged(tmp_path / "a" / "out", may_replace=may_replace) as path:
            file = path / "file" if kind == "folder" else path
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            assert (tmp_path / "a" / "out").exists() == may_replace

    make("old")
    before = file_digests(tmp_path)
    with pytest.raises(OutputError, match="out: already exists"):
        make("new")
    assert file_digests(tmp_path) == before
    make("new", may_replace=True)
    assert file_digests(tmp_path) != before
    assert file_digests(tmp_path).keys() == before.keys()


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"abc")
    (tmp_path / "a" / "link").symlink_to("b")
    assert file_digests(tmp_path / "a") == {
        "b/x": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # FIPS 180-2, B.1
        "link": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
