# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Files and folders are written whole or not at all: temporary name in the same place, fsync, rename."""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from scripts.errors import OutputError


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes ``path`` through ``write(stream)`` so that a reader sees the old file or the new one, never a part.

    Args:
        path: the final name; parent folders are made.
        write: gets an open binary stream and writes all of the content.

    Raises:
        OutputError: the file cannot be written (disk full, read-only, a folder is in the way); nothing is left behind.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free or choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8, whole or not at all."""
    write_file(path, lambda stream: stream.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def new_folder(out: Path, *, may_replace: bool = False) -> Iterator[Path]:
    """A hidden folder beside ``out`` to fill: it takes that name when all went well, and is removed otherwise.

    A folder that it replaces keeps its place until the new one is complete. A process that is killed leaves the hidden
    folder behind; `remove_partial_folders` removes it.

    Args:
        out: the final name; parent folders are made.
        may_replace: whether a folder that exists and is not empty may be replaced.

    Raises:
        OutputError: ``out`` is a file or a link, holds something, or cannot be written; nothing is left behind.
    """
    _check_free(out, may_replace=may_replace)
    partial = _hidden(out, "partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        _put_in_place(partial, out, may_replace=may_replace)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}); free or choose another place"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial_folders(folder: Path) -> None:
    """Removes what killed processes had begun to fill by `new_folder` in ``folder``; no process may be filling one."""
    for path in folder.glob(".*.partial-????????"):
        shutil.rmtree(path, ignore_errors=True)


def _check_free(out: Path, *, may_replace: bool) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out}: exists and is not a folder; choose another name")
    if not may_replace and out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: exists and is not empty; choose another name or allow overwriting")


def _put_in_place(partial: Path, out: Path, *, may_replace: bool) -> None:
    """Renames ``partial`` to ``out``; an earlier folder of that name is removed only once the new one is there."""
    if may_replace and out.exists():
        earlier = _hidden(out, "earlier")
        out.rename(earlier)
        try:
            partial.rename(out)
        except OSError:
            earlier.rename(out)
            raise
        shutil.rmtree(earlier, ignore_errors=True)
    else:
        partial.rename(out)  # fails where something has come to be there meanwhile
    _sync_folder(out.parent)


def _hidden(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}-{uuid.uuid4().hex[:8]}")


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Removes what a killed process had begun to write in ``folder`` for files named ``name`` (a glob pattern).

    Raises:
        OutputError: one cannot be removed.
    """
    for path in folder.glob(f".{name}.????????"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed ({error.strerror}); remove it by hand") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
