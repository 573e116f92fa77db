"""A folder lock that admits one run at a time; the operating system releases it when the process ends.

It is a POSIX lock, which forked workers do not inherit. Where there are none, on Windows, it is one of ``filelock``.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from ctcycle.errors import OutputError

NAME = "lock"
_log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock ``folder`` against other processes inside the context; a file in it names the process holding the lock.

    The folder is created if needed.

    Raises:
        OutputError: another process holds the lock, or the folder cannot be written.
    """
    path = folder / NAME
    if _posix_locks() is None:
        with _locked_otherwise(path):
            yield
        return
    stream = _acquire(path)
    try:
        yield
    finally:
        with suppress(OSError):  # problems with the folder have already been reported
            path.unlink(missing_ok=True)  # while locked: a process about to lock it notices that the file changed
        stream.close()


def _acquire(path: Path) -> IO[str]:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+")
        except OSError as error:
            raise OutputError(f"{path}: cannot write ({error.strerror}); choose another `out`") from error
        _lock(path, stream)
        if _is_current(path, stream):
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            stream.flush()
            return stream
        stream.close()


def _posix_locks() -> ModuleType | None:
    try:
        return import_module("fcntl")
    except ImportError:  # Windows
        return None


@contextmanager
def _locked_otherwise(path: Path) -> Iterator[None]:
    """Lock ``path`` by the means of the system, which do not allow to name the holder in a file that is locked."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise _is_locked(path, "another process") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot write ({error.strerror}); choose another `out`") from error
    try:
        yield
    finally:
        lock.release()


def _is_locked(path: Path, holder: str) -> OutputError:
    return OutputError(
        f"{path.parent}: locked by another run ({holder}); wait for it, stop it, or choose another `out`"
    )


def _lock(path: Path, stream: IO[str]) -> None:
    fcntl: Any = _posix_locks()
    # lockf, not flock: a forked worker must not keep the lock of a killed run
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        stream.seek(0)
        holder = stream.read().strip() or "another process"
        stream.close()
        raise _is_locked(path, holder) from None
    except OSError as error:
        _log.warning(
            "%s: this file system does not support locks (%s); do not start two runs in the same folder", path, error
        )


def _is_current(path: Path, stream: IO[str]) -> bool:
    """Return whether the locked file is still at ``path``: the last holder may have removed it in the meantime."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
