"""One run at a time in a folder: a lock of the operating system's, which ends with its process, however that ends."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ctcycle.errors import OutputError

NAME = "lock"
_log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, no other process gets into ``folder``, which is made if need be; a file in it says who is there.

    Raises:
        OutputError: another process is there, or the folder cannot be written.
    """
    path = folder / NAME
    stream = _acquire(path)
    try:
        yield
    finally:
        with suppress(OSError):  # what went wrong with the folder has been told
            path.unlink(missing_ok=True)  # while it is locked: who waits for it sees that it is another file
        stream.close()


def _acquire(path: Path) -> IO[str]:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another `out`") from error
        _lock(path, stream)
        if _is_still(path, stream):
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            stream.flush()
            return stream
        stream.close()


def _lock(path: Path, stream: IO[str]) -> None:
    # lockf, not flock: a forked worker must not hold the lock of a run that was killed
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        stream.seek(0)
        who = stream.read().strip() or "another process"
        stream.close()
        raise OutputError(
            f"{path.parent}: another run is at work here ({who}); wait for it, stop it, or choose another `out`"
        ) from None
    except OSError as error:
        _log.warning("%s: this file system has no locks (%s); do not start two runs in one folder", path, error)


def _is_still(path: Path, stream: IO[str]) -> bool:
    """Whether the file that was locked is the one that has the name: its last owner may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
