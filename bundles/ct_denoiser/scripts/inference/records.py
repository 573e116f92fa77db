# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Records of outputs: what each was made with and from, which decides whether it is done, refused or replaced.

The records of an output folder are in its hidden folder ``.ctcycle``, one JSON file per output. The rule:

* The record says the same as what is wanted: the output is done.
* It names other weights, options or another version: the whole run is refused, since one folder never holds results of
  two models or settings.
* It names other source files: the series is refused.
* There is no record, or the content is not the recorded one: ctcycle did not write it, so it is never replaced.

``overwrite`` replaces outputs in the second and third case, never in the last.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from scripts.atomic import file_digests, remove, remove_leftovers, sole_writer, staged, write_json
from scripts.errors import ConfigError, OutputError, SeriesError

FOLDER = ".ctcycle"
"""The hidden folder of the records in an output folder."""

State = Literal["missing", "done", "other options", "other source"]
_SHOWN_DIGITS = 12
_SHOWN = re.compile(r"\.DS_Store|\._.+|Thumbs\.db|desktop\.ini", re.IGNORECASE)
"""Names of files of file managers."""


@dataclass(frozen=True)
class Making:
    """What an output is made with and from; plain data, as read from JSON.

    Attributes:
        options: weights, options that change pixels or headers, and the version; the same for all outputs of a run.
        source: digest of the source files, and how they are read.
    """

    options: Mapping[str, Any]
    source: Mapping[str, Any]


@dataclass(frozen=True)
class OutputRecords:
    """The records of one output folder.

    Attributes:
        out: the output folder; it need not exist yet.
    """

    out: Path
    _contents: dict[Path, str] = field(default_factory=dict, compare=False)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep other processes out of the folder inside the context, and remove what killed ones left there.

        Raises:
            OutputError: another process is writing to the folder, or its records are elsewhere.
        """
        check_records(self.out)
        with sole_writer(self.out / FOLDER):
            remove_leftovers(self.out, below=True)
            yield

    def check(self, paths: Collection[Path], options: Mapping[str, Any], *, overwrite: bool) -> None:
        """Check all outputs, before anything is written.

        Args:
            paths: the outputs to be written.
            options: as in `Making`.
            overwrite: whether outputs with other options may be replaced.

        Raises:
            ConfigError: an output was made with other options; the message names what differs.
            OutputError: something exists at a path that ctcycle did not write.
        """
        for path in paths:
            self._entry(path)
        for file in sorted((self.out / FOLDER).glob("*.json")):
            path, entries = _read(file, self.out)
            if path.exists() and entries and not (overwrite and path in paths):
                self._check_options(path, entries[0]["options"], options, overwrite=overwrite)

    def state(self, path: Path, making: Making) -> State:
        """Return whether an output exists and was made with and from the same.

        Raises:
            OutputError: something exists at ``path`` that ctcycle did not write.
        """
        entry = self._entry(path)
        if entry is None:
            return "missing"
        if differences(entry["options"], making.options):
            return "other options"
        return "other source" if differences(entry["source"], making.source) else "done"

    def remarks(self, path: Path) -> Mapping[str, Any]:
        """Return the remarks that were recorded with an output; none if nothing is there.

        Raises:
            OutputError: something exists at ``path`` that ctcycle did not write.
        """
        entry = self._entry(path)
        remarks: Mapping[str, Any] = entry["remarks"] if entry else {}
        return remarks

    @contextmanager
    def writing(self, path: Path, making: Making, remarks: Mapping[str, Any] = MappingProxyType({})) -> Iterator[Path]:
        """Yield a hidden path to write an output to; on success it is recorded and takes the place of ``path``.

        An existing output is replaced if ctcycle wrote it. The record is written first and keeps the former entry until
        the output is in place, so that a killed process leaves an output that its record describes.

        Args:
            path: where the output will be.
            making: what it is made with and from.
            remarks: plain data about the output for a later run, see `remarks`; they decide nothing.

        Raises:
            OutputError: something exists at ``path`` that ctcycle did not write, or the output cannot be written.
        """
        former, file = self._entry(path), self._file(path)
        with staged(path, may_replace=former is not None) as hidden:
            yield hidden
            entry = {
                "options": making.options,
                "source": making.source,
                "content": _content(hidden),
                "remarks": dict(remarks),
            }
            name = path.relative_to(self.out).as_posix()
            write_json(file, {"path": name, "entries": [entry, *([former] if former else [])]})
        self._contents[path] = str(entry["content"])
        if former:
            write_json(file, {"path": name, "entries": [entry]})

    def clear(self) -> None:
        """Remove all outputs and their records; what others put into the folder stays.

        Raises:
            OutputError: an output was changed, and nothing was removed; or one cannot be removed, or another process is
                writing to the folder.
        """
        if not (self.out / FOLDER).exists():
            return
        with self.opened():
            records = {file: _read(file, self.out)[0] for file in sorted((self.out / FOLDER).glob("*.json"))}
            own = {file: path for file, path in records.items() if path != self.out and self._file(path) == file}
            for path in own.values():
                self._entry(path)
            for file, path in own.items():
                if path.resolve().is_relative_to(self.out.resolve()):
                    remove(path)
                    remove(file)
        self._contents.clear()

    def _entry(self, path: Path) -> dict[str, Any] | None:
        """Return the record of what is at ``path``; None if nothing is.

        Raises:
            OutputError: it has no record, or its content is not the recorded one.
        """
        if not path.exists() and not path.is_symlink():
            return None
        file = self._file(path)
        entries = _read(file, self.out)[1] if file.exists() else []
        if path not in self._contents:
            self._contents[path] = "" if path.is_symlink() else _content(path)
        found = next((entry for entry in entries if entry["content"] == self._contents[path]), None)
        if found is None:
            what = "was changed after ctcycle wrote it" if entries else "exists, and ctcycle did not write it"
            raise OutputError(f"{path}: {what}, so it is never replaced; move it elsewhere, or choose another `out`")
        return found

    def _file(self, path: Path) -> Path:
        name = path.relative_to(self.out).as_posix()
        digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        return self.out / FOLDER / f"{digest[:16]}.json"

    def _check_options(self, path: Path, before: Mapping[str, Any], now: Mapping[str, Any], *, overwrite: bool) -> None:
        if not (found := differences(before, now)):
            return
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        remedy = "it is not in the input, so move it elsewhere" if overwrite else "set overwrite=true"
        raise ConfigError(
            f"{path}: was made with other weights or options ({found[0]}{more}); {remedy}, or choose another `out`"
        )


def check_records(out: Path) -> None:
    """Check that the records of an output folder are in it.

    Raises:
        OutputError: a link leads elsewhere, or a file takes their place.
    """
    folder = out / FOLDER
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder}: is not a folder; ctcycle keeps its records there, so move it elsewhere")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return each difference between two mappings as text, such as ``strength=0.3 instead of 1.0``."""
    keys = [*now, *(key for key in before if key not in now)]
    return [
        f"{key}={_shown(now.get(key))} instead of {_shown(before.get(key))}"
        for key in keys
        if before.get(key) != now.get(key)
    ]


def refuse_other_source(path: Path, output: Path) -> SeriesError:
    """Return the error for a series whose output was made from other files."""
    return SeriesError(
        f"{path}: its files have changed since {output} was made from them; set overwrite=true, or choose another `out`"
    )


def _shown(value: Any) -> str:
    text = str(value)
    hexadecimal = len(text) > _SHOWN_DIGITS and set(text) <= set("0123456789abcdef")
    return text[:_SHOWN_DIGITS] if hexadecimal else text


def _content(path: Path) -> str:
    """Return a digest of a file, or of the names and contents of all files in a folder.

    Files that file managers leave in every folder that they show do not count.
    """
    found = {name: one for name, one in file_digests(path).items() if not _SHOWN.fullmatch(name.rpartition("/")[2])}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _read(file: Path, out: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Return the path and the entries of a record, the latest first; none if it is damaged."""
    try:
        found = json.loads(file.read_bytes())
        entries = [
            {
                "options": dict(one["options"]),
                "source": dict(one["source"]),
                "content": str(one["content"]),
                "remarks": dict(one.get("remarks", {})),
            }
            for one in found["entries"]
        ]
        path = out / str(found["path"])
        return (path, entries) if path.is_relative_to(out) else (out, [])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return out, []
