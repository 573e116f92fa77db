"""The package can be imported where POSIX is missing, and says what it cannot do there."""

import subprocess
import sys
from pathlib import Path

import pytest

from ctcycle.errors import OutputError
from ctcycle.runs import lock

WITHOUT_POSIX = """
import importlib, os, pkgutil, select, signal, sys
import ctcycle

names = [module.name for module in pkgutil.walk_packages(ctcycle.__path__, "ctcycle.")]
for name in names:  # with all that others need
    importlib.import_module(name)
for name in [name for name in sys.modules if name.startswith("ctcycle")]:
    del sys.modules[name]
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"):
    sys.modules[name] = None
del signal.SIGUSR1, signal.SIGKILL, select.poll, os.fork, os.sched_getaffinity, os.getppid, os.mkfifo
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.mark.slow
def test_every_module_can_be_imported_without_posix() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_POSIX],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 100


def test_a_folder_is_locked_without_posix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with lock.locked(tmp_path / "run"):
        with (
            pytest.raises(OutputError, match=r"run: locked by another run \(another process\)"),
            lock.locked(tmp_path / "run"),
        ):
            pytest.fail("was locked twice")
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
    with lock.locked(tmp_path / "run"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"), lock.locked(tmp_path / "file" / "run"):
        pytest.fail("was locked")
