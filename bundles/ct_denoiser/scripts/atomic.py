# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Atomic writes of files and folders: a temporary name in the same folder, fsync, rename."""

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
            f"{path}: cannot write ({error.strerror or error}); free up space or choose another location"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
    folder behind; `remove_partial_folders` removes it.

    Args:
        out: the final path; parent folders are created.
        may_replace: whether a folder that exists and is not empty may be replaced.

    Raises:
        OutputError: ``out`` is a file or a link, is not empty, or cannot be written; nothing is left behind.
    """
    _check_free(out, may_replace=may_replace)
    partial = _hidden(out, "partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        _move_into_place(partial, out, may_replace=may_replace)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot write ({error.strerror or error}); free up space or choose another location"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial_folders(folder: Path) -> None:
    """Remove the hidden folders that killed processes left in ``folder``; no process may still be writing there."""
    for path in folder.glob(".*.partial-????????"):
        shutil.rmtree(path, ignore_errors=True)


def _check_free(out: Path, *, may_replace: bool) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out}: exists and is not a folder; choose another name")
    if not may_replace and out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: exists and is not empty; choose another name or allow overwriting")


def _move_into_place(partial: Path, out: Path, *, may_replace: bool) -> None:
    """Rename ``partial`` to ``out``; an existing ``out`` is removed only after the new folder is in place."""
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
        partial.rename(out)  # fails if another process has created it in the meantime
    _sync_folder(out.parent)


def _hidden(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}-{uuid.uuid4().hex[:8]}")


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove the temporary files that killed processes left in ``folder`` for files named ``name`` (a glob pattern).

    Raises:
        OutputError: a file cannot be removed.
    """
    for path in folder.glob(f".{name}.????????"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot remove ({error.strerror}); delete it manually") from error


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
