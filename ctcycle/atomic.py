"""Files are written whole or not at all: temporary name in the same folder, fsync, rename."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ctcycle.errors import OutputError


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
