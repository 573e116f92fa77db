"""A folder lock that admits one run at a time; the operating system releases it when the process ends."""

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
    """Lock ``folder`` against other processes inside the context; a file in it names the process holding the lock.

    The folder is created if needed.

    Raises:
        OutputError: another process holds the lock, or the folder cannot be written.
    """
    path = folder / NAME
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


def _lock(path: Path, stream: IO[str]) -> None:
    # lockf, not flock: a forked worker must not keep the lock of a killed run
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        stream.seek(0)
        holder = stream.read().strip() or "another process"
        stream.close()
        raise OutputError(
            f"{path.parent}: locked by another run ({holder}); wait for it, stop it, or choose another `out`"
        ) from None
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
