"""Atomic writes of files and folders: a hidden name in the same folder, fsync, rename; and what is left of them.

Partial content is named ``.NAME.partial-XXXXXXXX`` next to ``NAME``. Its writer holds a lock that the operating system
releases when the process ends: a partial name without a lock was left by a killed process.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from ctcycle.errors import OutputError

fcntl: Any = None
"""None on Windows: nothing is locked there, so nothing is removed as a leftover either."""
with suppress(ImportError):
    fcntl = import_module("fcntl")

_HIDDEN = re.compile(r"\.(.+)\.(partial|earlier)-(lock|[0-9a-z_]{8})")
_listeners: list[Callable[[Path], object]] = []
"""Functions that are called before `write_file` puts a file in place."""
_MAX_NAME_BYTES = 200
"""Longer names are cut in hidden names, which have to fit into the 255 bytes of most file systems."""


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write ``path`` atomically: a reader sees either the old file or the complete new one.

    Args:
        path: the final path; parent folders are created.
        write: called with an open binary stream to write all of the content.

    Raises:
        OutputError: the file cannot be written (disk full, read-only, ``path`` is a folder); nothing is left behind.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_file(path) as stream:
            temporary = Path(stream.name)
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
            temporary.chmod(0o666 & ~_umask())
            for listener in _listeners:
                listener(path)
            temporary.replace(path)  # while locked, so that no other process takes it for a leftover
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def announced(listener: Callable[[Path], object]) -> Iterator[None]:
    """Call ``listener`` with the final path before `write_file` puts a file in place; its exceptions prevent that."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically as UTF-8."""
    write_file(path, lambda stream: stream.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def new_folder(out: Path, *, may_replace: bool = False) -> Iterator[Path]:
    """Yield a hidden folder next to ``out``; it is renamed to ``out`` on success and removed on failure.

    An existing ``out`` stays in place until the new folder is complete. A process that is killed leaves the hidden
    folder behind; the next call for the same ``out`` removes it, as does `remove_leftovers`.

    Args:
        out: the final path; parent folders are created.
        may_replace: whether a folder that exists and is not empty may be replaced; the caller has made sure that
            ctcycle wrote everything in it.

    Raises:
        OutputError: ``out`` is a file or a link, is not empty, or cannot be written, or another process is writing it;
            nothing is left behind.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out}: exists and is not a folder; choose another name")
    if not may_replace and out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: exists and is not empty; choose another name or allow overwriting")
    with _partial_folder(out) as partial:
        yield partial
        _move_into_place(partial, out, may_replace=may_replace)


@contextmanager
def staged(out: Path, *, may_replace: bool = False) -> Iterator[Path]:
    """Yield a path in a hidden folder; the file or folder written there is moved to ``out`` on success.

    Args:
        out: the final path; parent folders are created.
        may_replace: as for `new_folder`, for files also.

    Raises:
        OutputError: as for `new_folder`.
    """
    if not may_replace and os.path.lexists(out):
        raise OutputError(f"{out}: already exists; choose another name or allow overwriting")
    with _partial_folder(out) as partial:
        yield partial / out.name
        _move_into_place(partial / out.name, out, may_replace=may_replace)


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Keep other processes from writing ``out`` inside the context; a hidden file beside it is locked.

    Raises:
        OutputError: another process is writing it.
    """
    path = _lock_of(out.parent, out.name)
    stream = _acquired(path, out)
    try:
        yield
    finally:
        with suppress(OSError):  # problems with the folder have already been reported
            path.unlink(missing_ok=True)  # while locked: a process about to lock it notices that the file changed
        stream.close()


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove the hidden files and folders that killed processes left; those of living processes stay.

    A folder that was to be replaced is restored if its replacement did not take its place.

    Args:
        folder: where to look; it need not exist.
        below: look in all folders below it as well.

    Raises:
        OutputError: a file cannot be removed.
    """
    for path in sorted(folder.rglob(".*") if below else folder.glob(".*")):
        found = _HIDDEN.fullmatch(path.name)
        if found is None or path.is_symlink():
            continue
        try:
            if path.is_dir():
                _remove_folder(path, _lock_of(folder=path.parent, name=found[1]))
            elif path.is_file():
                _remove_file(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot remove ({error.strerror}); delete it manually") from error


def remove(path: Path) -> None:
    """Remove a file, a link, or atomically a folder with all its contents.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        if _is_plain_dir(path):
            shutil.rmtree(path.rename(_hidden(path, "partial")))  # a leftover if this process is killed
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot remove ({error.strerror}); delete it manually") from error


def file_digests(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder by its relative path; or of a single file, by an empty path.

    Links are not followed and get the digest of an empty file, so that they equal no file with content.
    """
    if not _is_plain_dir(path):
        return {"": file_digest(path)}
    files = sorted(file for file in path.rglob("*") if not _is_plain_dir(file))
    return {file.relative_to(path).as_posix(): file_digest(file) for file in files}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; that of an empty file for a link."""
    if path.is_symlink():
        return hashlib.sha256().hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_plain_dir(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


@contextmanager
def _partial_folder(out: Path) -> Iterator[Path]:
    """Yield an empty hidden folder next to ``out``, which no other process may write meanwhile."""
    partial = _hidden(out, "partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with sole_writer(out):
            for path in out.parent.glob(".*"):
                if (found := _HIDDEN.fullmatch(path.name)) and found[1] == _short(out.name) and path.is_dir():
                    _put_back_or_remove(path)
            partial.mkdir()
            try:
                yield partial
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise _cannot_write(out, error) from error


def _move_into_place(made: Path, out: Path, *, may_replace: bool) -> None:
    """Rename ``made`` to ``out``; an existing folder is removed only after the new one is in place."""
    if not may_replace or not _is_plain_dir(out):
        if made.is_file() and not may_replace and os.path.lexists(out):
            raise FileExistsError(17, "File exists")
        made.rename(out)  # fails if another process has created a folder in the meantime
    else:
        earlier = _hidden(out, "earlier")
        earlier.mkdir()
        out.rename(earlier / out.name)
        try:
            made.rename(out)
        except OSError:
            (earlier / out.name).rename(out)
            earlier.rmdir()
            raise
        shutil.rmtree(earlier, ignore_errors=True)
    _sync_folder(out.parent)


def _remove_folder(path: Path, lock: Path) -> None:
    """Remove a hidden folder whose writer is dead: the lock exists as long as the folder does."""
    if not lock.exists():
        _put_back_or_remove(path)
        return
    with lock.open("r+b") as stream:
        if _lock(stream) == "ours":
            _put_back_or_remove(path)


def _put_back_or_remove(path: Path) -> None:
    if ".earlier-" in path.name:
        for entry in path.iterdir():
            if not os.path.lexists(path.parent / entry.name):
                entry.rename(path.parent / entry.name)
    shutil.rmtree(path, ignore_errors=True)


def _remove_file(path: Path) -> None:
    """Remove a partial file or a lock file that no process holds."""
    with suppress(FileNotFoundError), path.open("r+b") as stream:
        if _lock(stream) == "ours":
            path.unlink(missing_ok=True)


@contextmanager
def _temporary_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new locked file next to ``path``; whoever closes it has moved or removed it."""
    while True:
        stream = tempfile.NamedTemporaryFile(  # noqa: SIM115 (closed below)
            dir=path.parent, prefix=f".{_short(path.name)}.partial-", delete=False
        )
        with stream:
            if fcntl is not None:
                with suppress(OSError):  # file systems without locks
                    fcntl.flock(stream, fcntl.LOCK_EX)
            if os.fstat(stream.fileno()).st_nlink:  # else another process took it for a leftover before it was locked
                yield stream
                return


def _acquired(path: Path, out: Path) -> IO[bytes]:
    """Return the lock file, open and locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("a+b")
        except OSError as error:
            raise _cannot_write(out, error) from error
        if _lock(stream) == "held":
            stream.close()
            raise OutputError(f"{out}: another process is writing it; wait for it, stop it, or choose another name")
        with suppress(FileNotFoundError):  # the last holder has removed it in the meantime
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                return stream
        stream.close()


def _lock(stream: IO[bytes]) -> str:
    """Lock an open file without waiting: "ours", "held" by another, or "unknown" where locks are not supported."""
    if fcntl is None:
        return "unknown"
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError:
        return "unknown"
    return "ours"


def _lock_of(folder: Path, name: str) -> Path:
    return folder / f".{_short(name)}.partial-lock"


def _hidden(out: Path, what: str) -> Path:
    return out.with_name(f".{_short(out.name)}.{what}-{uuid.uuid4().hex[:8]}")


def _short(name: str) -> str:
    """Return a name that leaves room for the parts of a hidden one."""
    content = os.fsencode(name)
    if len(content) <= _MAX_NAME_BYTES:
        return name
    return f"{hashlib.sha256(content).hexdigest()[:16]}"


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path}: cannot write ({error.strerror or error}); free up space or choose another location")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
