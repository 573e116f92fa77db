"""One run at a time in a folder."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from held_lock import HOLD, holder

from ctcycle.errors import OutputError
from ctcycle.runs import lock
from ctcycle.runs.lock import locked

ROOT = Path(__file__).parents[2]


def test_a_second_one_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with holder(folder) as process:
        who = f"process {process.pid} on {socket.gethostname()}"
        sentence = f"{folder}: locked by another run ({who}); wait for it, stop it, or choose another `out`"
        for _ in range(2):  # being refused changes nothing
            with pytest.raises(OutputError) as error, locked(folder):
                pytest.fail("must not get in")
            assert str(error.value) == sentence
            assert error.value.exit_code == 4
        process.communicate()
    with locked(folder):
        assert (folder / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert list(folder.iterdir()) == []


def test_a_killed_one_holds_nothing_though_its_file_stays(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "lock").read_text().startswith(f"process {process.pid} ")
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} ")
    assert list(tmp_path.iterdir()) == []


def test_a_worker_of_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    code = HOLD.replace("    print(", "    import os; os.fork() or time.sleep(60)\n    print(")
    line = [sys.executable, "-c", code, str(tmp_path)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    try:
        with locked(tmp_path):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_file_that_its_owner_removed_meanwhile_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait, tries = lock._lock, []

    def late(path: Path, stream: object) -> None:
        wait(path, stream)  # type: ignore[arg-type]
        tries.append(path)
        if len(tries) == 1:
            path.unlink()

    monkeypatch.setattr(lock, "_lock", late)
    with locked(tmp_path):
        assert len(tries) == 2
        assert (tmp_path / "lock").exists()


def test_an_error_inside_frees_the_folder_and_a_vanished_folder_is_no_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "run"
    with pytest.raises(OutputError, match=r"lock: cannot write \(Not a directory\)"), locked(folder):
        pytest.fail("must not get in")


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with locked(tmp_path):
        pass
    assert "this file system does not support locks" in caplog.text
