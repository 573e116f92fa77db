"""The manifest: an editable CSV file that lists each series with its patient, dose and split."""

import csv
import difflib
import io
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

from ctcycle.atomic import write_text
from ctcycle.ct.series import Format, hashed
from ctcycle.data.settings import Dose, Split
from ctcycle.errors import ManifestError

MAX_PROBLEMS = 20
"""Maximum number of problems listed for one file; further ones are only counted."""


@dataclass(frozen=True)
class ManifestRow:
    """One series; the fields are the columns of the file, in order.

    Attributes:
        series: a short name for the series, the same in every scan of the same files.
        patient: a label or a hash, never the PatientID of the header.
        dose: the domain; empty if unknown.
        dose_fraction: fraction of the full dose, in (0, 1]; None if unknown.
        kernel: reconstruction kernel; empty if unknown.
        thickness_mm: slice thickness; 0.0 if unknown.
        spacing_mm: in-plane pixel spacing; 0.0 if unknown.
        rows: height in pixels.
        columns: width in pixels.
        slices: number of slices.
        split: train, val or test; empty if the series is not used.
        format: the file format.
        path: POSIX path of the folder that holds the slices, or of the file; relative to the folder of the manifest
            if they have a common parent folder.
        uid: distinguishes series with the same path, see `ctcycle.ct.series.series_uid`; empty for a single file.
        slice_axis: axis that a NIfTI or npy volume is cut along; None to choose it. The column may be missing.
    """

    series: str
    patient: str
    dose: Dose
    dose_fraction: float | None
    kernel: str
    thickness_mm: float
    spacing_mm: float
    rows: int
    columns: int
    slices: int
    split: Split
    format: Format
    path: str
    uid: str
    slice_axis: int | None = None


_OPTIONAL = ("slice_axis",)
COLUMNS = tuple(field.name for field in fields(ManifestRow) if field.name not in _OPTIONAL)
"""The columns of every manifest; optional ones follow where a series needs them."""


@dataclass(frozen=True)
class Manifest:
    """The series of a manifest file.

    Attributes:
        path: the file; paths of rows are relative to its folder.
        rows: the series, in the order of the file.
    """

    path: Path
    rows: tuple[ManifestRow, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ManifestRow]:
        return iter(self.rows)

    @property
    def root(self) -> Path:
        """Return the folder that the paths of the rows are relative to."""
        return self.path.parent

    @property
    def patients(self) -> tuple[str, ...]:
        """Return the patients, sorted and without duplicates."""
        return tuple(sorted({row.patient for row in self.rows}))

    def select(
        self,
        dose: Dose | None = None,
        split: Split | None = None,
        kernel: str | None = None,
        patients: Collection[str] | None = None,
    ) -> "Manifest":
        """Return a manifest of the rows that match all given values; None matches everything."""
        wanted = {"dose": dose, "split": split, "kernel": kernel}
        rows = (row for row in self.rows if all(value in {None, getattr(row, key)} for key, value in wanted.items()))
        return replace(self, rows=tuple(row for row in rows if patients is None or row.patient in patients))


def series_name(kind: Format, path: str, uid: str) -> str:
    """Return the name of a series: 12 hexadecimal digits.

    Args:
        kind: the file format.
        path: its path as in the manifest.
        uid: its UID from `ctcycle.ct.series.series_uid`.
    """
    return hashed(f"{kind}\0{path}\0{uid}", 12)


def survives(row: ManifestRow) -> bool:
    """Return whether a row reads back from a manifest as it was written; odd blanks in names do not."""
    columns = [*COLUMNS, *_OPTIONAL]
    again, _problems = _parse_row(columns, [_text(getattr(row, column), column).strip() for column in columns])
    return again == row and not any("\r" in str(getattr(row, column)) for column in columns)


def stored_path(path: Path, root: Path) -> str:
    """Return ``path`` in the form used by a manifest in the folder ``root``.

    It is a POSIX path, relative to ``root`` unless they have only the root directory in common. A relative path may
    start with ``..``, so that data and manifest can be moved together. Symbolic links are not resolved.
    """
    path, root = (Path(os.path.normpath(item.absolute())) for item in (path, root))
    try:
        common = Path(os.path.commonpath([path, root]))
    except ValueError:  # two drives
        return path.as_posix()
    return Path(os.path.relpath(path, root)).as_posix() if common != Path(common.anchor) else path.as_posix()


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest to ``path`` atomically, adapting its relative paths to the new location.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, manifest_text(path, manifest))


def manifest_text(path: Path, manifest: Manifest) -> str:
    """Return what `write_manifest` writes to ``path``."""
    stream = io.StringIO(newline="")
    table = csv.writer(stream, lineterminator="\n")
    used = (name for name in _OPTIONAL if any(getattr(row, name) is not None for row in manifest.rows))
    columns = (*COLUMNS, *used)
    table.writerow(columns)
    for row in manifest.rows:
        moved = replace(row, path=stored_path(manifest.root / row.path, path.parent))
        table.writerow(_text(getattr(moved, column), column) for column in columns)
    return stream.getvalue()


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, as written by ctcycle or saved by a spreadsheet.

    A BOM, CRLF, semicolons or tabs as delimiters, blank lines and surrounding spaces are accepted.

    Raises:
        ManifestError: the file cannot be read or is invalid; the message has one line per problem.
    """
    try:
        lines = iter(list(_lines(_read_text(path))))
    except csv.Error as error:
        raise ManifestError(f"{path}: {error}") from error
    top, header = next(lines, (1, []))
    problems = [f"{top}: {problem}" for problem in _check_header(header)]
    numbered: list[tuple[int, ManifestRow]] = []
    for number, cells in [] if problems else lines:
        row, wrong = _parse_row(header, cells)
        numbered += [] if row is None else [(number, row)]
        problems += [f"{number}: {problem}" for problem in wrong]
    problems += _contradictions(numbered)
    if not (numbered or problems):
        problems = [f"{top}: no series after the header; scan the data again"]
    if problems:
        more = len(problems) - MAX_PROBLEMS
        shown = [f"{path}:{problem}" for problem in problems[:MAX_PROBLEMS]]
        raise ManifestError("\n".join([*shown, f"{path}: {more} more problems"] if more > 0 else shown))
    return Manifest(path, tuple(row for _, row in numbered))


def _read_text(path: Path) -> str:
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe or a device may never end
        raise ManifestError(f"{path}: is not a file; scan the data to create a manifest")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path}: cannot read ({error.strerror}); scan the data to create a manifest") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is not UTF-8 text; save it as 'CSV UTF-8'") from error


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line numbers and stripped cells of all lines that are not blank."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in table:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield table.line_num, stripped
    except csv.Error as error:
        raise csv.Error(f"line {table.line_num}: {error}; check the quotes and the length of its cells") from error


def _check_header(header: list[str]) -> list[str]:
    problems = []
    if not header:
        return [f"the file is empty; a manifest starts with the columns {','.join(COLUMNS)}"]
    for name in header:
        if header.count(name) > 1 and f"duplicate column {name!r}" not in problems:
            problems.append(f"duplicate column {name!r}")
        elif name not in {*COLUMNS, *_OPTIONAL}:
            close = difflib.get_close_matches(name, (*COLUMNS, *_OPTIONAL), 1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(COLUMNS)}"
            problems.append(f"unknown column {name!r}; {hint}")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        problems.append(f"missing columns: {', '.join(missing)}")
    return problems


def _parse_row(header: list[str], cells: list[str]) -> tuple[ManifestRow | None, list[str]]:
    """Return the row, or None and the list of its problems."""
    cells = cells[: len(header)] + [cell for cell in cells[len(header) :] if cell]
    if len(cells) != len(header):
        return None, [f"found {len(cells)} cells, the header has {len(header)}; quote cells that contain the delimiter"]
    values: dict[str, Any] = {}
    problems = []
    for column, cell in zip(header, cells, strict=True):
        try:
            values[column] = _PARSERS.get(column, str)(cell)
        except ValueError as error:
            problems.append(f"column {column!r}: {repr(cell) if cell else 'the empty cell'} {error}")
    return (None if problems else ManifestRow(**values)), problems


def _contradictions(numbered: list[tuple[int, ManifestRow]]) -> Iterator[str]:
    """Yield a problem for each duplicate series and each patient in two splits, without naming the patient."""
    seen: dict[str, int] = {}
    splits: dict[str, tuple[int, Split]] = {}
    for number, row in numbered:
        first = seen.setdefault(row.series, number)
        if first != number:
            yield f"{number}: series {row.series!r} is already on line {first}; remove one of the two lines"
        line, split = splits.setdefault(row.patient, (number, row.split)) if row.split else (number, row.split)
        if split != row.split:
            yield f"{number}: the patient is in split {row.split!r} here, but {split!r} on line {line}; choose one"


def _text(value: Any, column: str) -> str:
    unknown = value is None or (value == 0 and column in _BLANK_IF_ZERO)
    return "" if unknown else str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        if cell not in allowed:
            raise ValueError(f"is not allowed; choose one of {', '.join(name or 'empty' for name in allowed)}")
        return cell

    return parse


def _not_blank(cell: str) -> str:
    if not cell:
        raise ValueError("is not allowed; fill it in")
    return cell


def _count(cell: str) -> int:
    if not (cell.isascii() and cell.isdigit() and int(cell) > 0):
        raise ValueError("is not a whole number above 0")
    return int(cell)


def _number(cell: str) -> float:
    try:
        return float(cell.replace(",", "."))  # decimal commas come with semicolons from many spreadsheets
    except ValueError:
        raise ValueError("is not a number") from None


def _length(cell: str) -> float:
    value = _number(cell) if cell else 0.0
    if not 0 <= value < float("inf"):
        raise ValueError("is not a length in mm; leave it empty if unknown")
    return value


def _fraction(cell: str) -> float | None:
    value = _number(cell) if cell else None
    if value is not None and not 0 < value <= 1:
        raise ValueError("is not above 0 and at most 1; leave it empty if unknown")
    return value


def _axis(cell: str) -> int | None:
    if cell not in {"", "0", "1", "2"}:
        raise ValueError("is not an axis; choose 0, 1, 2 or empty")
    return int(cell) if cell else None


_BLANK_IF_ZERO = ("thickness_mm", "spacing_mm")
_PARSERS: dict[str, Callable[[str], Any]] = {
    "series": _not_blank,
    "patient": _not_blank,
    "dose": _choice(*get_args(Dose)),
    "dose_fraction": _fraction,
    "thickness_mm": _length,
    "spacing_mm": _length,
    "rows": _count,
    "columns": _count,
    "slices": _count,
    "split": _choice(*get_args(Split)),
    "format": _choice(*get_args(Format)),
    "path": _not_blank,
    "slice_axis": _axis,
}
