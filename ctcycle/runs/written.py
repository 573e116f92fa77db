"""The record of the files that ctcycle wrote to a run folder: nothing else in it is ever replaced or removed.

The record is ``.ctcycle/written.json``, the SHA-256 of each file by its relative path. It is null while a run may still
write the file: a killed run leaves it so, and the name then suffices.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from ctcycle.atomic import announced, file_digest, remove, remove_leftovers, write_json
from ctcycle.errors import OutputError
from ctcycle.inference.records import FOLDER, check_records

_REMEDY = "so it is never replaced; move it elsewhere, or choose another `out`"
_EARLY = " (runs of early versions have none: delete their folders yourself)"
_CHECKPOINTS = "checkpoints"
_LOG = "log.txt"
_FOLDERS = ("", "figures", _CHECKPOINTS)
"""Folders whose files are recorded, relative to the run folder; "" is the run folder itself."""


class WrittenFiles:
    """The record of one folder.

    Args:
        out: the folder; it need not exist yet.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / FOLDER / "written.json"
        self._trusting = False
        self._same: set[str] = set()
        self._lock = Lock()

    @contextmanager
    def recording(self, *, trusting: bool = False) -> Iterator[None]:
        """Claim every file before `ctcycle.atomic.write_file` puts it in place, and record the digests at the end.

        What killed processes left half-written in the folder is removed first.

        Args:
            trusting: whether to replace files without a record: those of a run that was begun before there were any.

        Raises:
            OutputError: a file exists that ctcycle did not write, or that was changed since; or a link leads to the
                record, or a leftover cannot be removed.
        """
        check_records(self.out)
        for folder in (*_FOLDERS, FOLDER):
            remove_leftovers(self.out / folder)
        self._trusting = trusting and not self.path.exists()
        self._same = {name for name, digest in self._read().items() if self._is_same(name, digest)}
        try:
            with announced(self._claim_own):
                yield
        finally:
            with suppress(OutputError):  # problems with the folder have already been reported
                self._seal()

    def claim(self, *paths: Path) -> None:
        """Record files that are about to be written.

        Args:
            paths: a path outside the folder may be replaced only while its content is the recorded one.

        Raises:
            OutputError: one exists, and ctcycle did not write it, or it was changed since.
        """
        with self._lock:
            known = self._read()
            names = [self._name(path) for path in paths]
            for path, name in zip(paths, names, strict=True):
                self._check(path, name, known)
            if any(known.get(name, "") is not None for name in names):
                write_json(self.path, {**known, **dict.fromkeys(names)})

    def remove(self, last: Path) -> None:
        """Remove all recorded files in the folder, and the record of them; ``last`` is removed last.

        Raises:
            OutputError: one was changed, and nothing was removed; or one cannot be removed.
        """
        known = self._read()
        own = [name for name in known if self._is_inside(name) and os.path.lexists(self.out / name)]
        for name in own:
            if not self._is_same(name, known[name]):
                raise OutputError(f"{self.out / name}: was changed after ctcycle wrote it, {_REMEDY}")
        for name in sorted(own, key=lambda name: self.out / name == last):
            remove(self.out / name)
        for folder in filter(None, _FOLDERS):
            with suppress(OSError):  # missing, or holds files of others
                (self.out / folder).rmdir()
        if known:
            write_json(self.path, {name: digest for name, digest in known.items() if not self._is_inside(name)})

    def _claim_own(self, path: Path) -> None:
        """Claim a file if it is one of those that are recorded."""
        name = self._name(path)
        folder, _, file = name.rpartition("/")
        if folder in {"", "figures"} and not file.startswith("."):
            self.claim(path)

    def _check(self, path: Path, name: str, known: dict[str, str | None]) -> None:
        if not os.path.lexists(path):
            return
        if name not in known:
            if not self._trusting:
                early = "" if self.path.exists() else _EARLY
                raise OutputError(f"{path}: exists, and ctcycle has no record of writing it{early}, {_REMEDY}")
        elif (known[name] is not None or not self._is_inside(name)) and file_digest(path) != known[name]:
            raise OutputError(f"{path}: was changed after ctcycle wrote it, {_REMEDY}")

    def begin(self) -> None:
        """Mark all files that are as they were written as open to changes."""
        if known := self._read():
            write_json(
                self.path, {n: None if self._is_same(n, d) and self._is_inside(n) else d for n, d in known.items()}
            )

    def _seal(self) -> None:
        """Record the digests of all files that may have been written; forget those that do not exist."""
        found: dict[str, str | None] = {}
        for name, digest in self._read().items():
            path = self.out / name
            if name == _LOG or name.startswith(
                f"{_CHECKPOINTS}/"
            ):  # appended to at any time; large, replaced if damaged
                found[name] = None
            elif path.is_file() and not path.is_symlink():
                found[name] = file_digest(path) if name in self._same else digest or file_digest(path)
        if found != self._read():
            write_json(self.path, found)

    def _is_same(self, name: str, digest: str | None) -> bool:
        path = self.out / name
        return digest is None or not os.path.lexists(path) or file_digest(path) == digest

    def _is_inside(self, name: str) -> bool:
        """Return whether a name is one of those that are recorded, and no link leads out of the folder."""
        folder, _, file = name.rpartition("/")
        return folder in _FOLDERS and file not in {"", ".", ".."} and not (self.out / folder).is_symlink()

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path.absolute(), self.out.absolute())).as_posix()

    def _read(self) -> dict[str, str | None]:
        """Return the record; an empty one if it is missing or damaged."""
        try:
            found = json.loads(self.path.read_bytes())
            return {str(name): None if digest is None else str(digest) for name, digest in found.items()}
        except (OSError, ValueError, AttributeError, RecursionError):
            return {}
