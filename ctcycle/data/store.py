"""Decoded once: each series as one memory-mapped int16 file of HU.

A cache folder holds ``volumes/<key>.npy``, where the key is a hash of the bytes of all files of the series and of the
decoding's settings, and ``index/<name>.json``, which says which key the files of a series had when they were last
looked at: their sizes and times, and their folders' times. As long as these agree nothing but the index is read; when
only times changed the files are hashed again; when bytes changed they are decoded again. The folder can be deleted at
any time, and several processes may use it at once.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle import __version__
from ctcycle.atomic import write_file, write_json
from ctcycle.ct import series_io
from ctcycle.ct.hounsfield import MU_WATER
from ctcycle.ct.series import Series, SeriesInfo, series_uid
from ctcycle.ct.stored_values import PADDING_HU
from ctcycle.data.manifest import ManifestRow
from ctcycle.errors import ManifestError, OutputError, SeriesError

SETTLED_NS = 2_000_000_000
"""Files that young are hashed whatever the index says: a second change may fall into the same tick of the clock."""

_VERSION = 1


@dataclass(frozen=True)
class StoredSeries:
    """A decoded series on disk; pickles as its path and geometry, so that loader workers map the file by themselves.

    Attributes:
        path: the file that holds the HU.
        shape: slices, rows, columns.
        spacing_mm: between slices, rows, columns; 0.0 where unknown.
        positions_mm: one per slice along the slice normal, or slice numbers where the format has no positions.
        digests: one per slice: the same for the same HU, whatever file they came from; empty for a slice of one value.
            Loader workers have no use for them, and get none.
    """

    path: Path
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    positions_mm: tuple[float, ...]
    digests: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def hu(self) -> NDArray[np.int16]:
        """(S, H, W) HU, a read-only memory map; values beyond int16 are clipped, padding is -1024."""
        volume = _map(self.path, self.shape)
        if volume is None:
            raise OutputError(f"{self.path}: has gone or is damaged while it was used; run again to decode it anew")
        return volume

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredSeries, (self.path, self.shape, self.spacing_mm, self.positions_mm)


class Locator:
    """Finds the files of manifest rows again; a folder that holds several series is looked through once.

    Args:
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
    """

    def __init__(self, mu_water: float = MU_WATER) -> None:
        self._mu_water = mu_water
        self._found: dict[Path, tuple[int, list[SeriesInfo]]] = {}

    def locate(self, row: ManifestRow, root: Path) -> SeriesInfo:
        """The series of a row.

        Args:
            row: a row of a manifest.
            root: the folder that its path is relative to, `Manifest.root`.

        Raises:
            ManifestError: the path or the series in it has gone, or the series is not what the row says.
        """
        path = root / row.path
        place = path.resolve()
        here = [info for info in self._infos(path, row) if info.path.resolve() == place]
        fitting = [info for info in here if series_uid(info) == row.uid]
        if len(fitting) != 1:
            raise ManifestError(f"series {row.series}: {path} no longer holds it; scan again")
        _check_shape(row, fitting[0].shape)
        return fitting[0]

    def _infos(self, path: Path, row: ManifestRow) -> list[SeriesInfo]:
        try:
            changed = path.stat().st_mtime_ns
        except OSError as error:
            raise ManifestError(
                f"series {row.series}: {path} has gone; put it back, remove the row, or scan again"
            ) from error
        known = self._found.get(path)
        if known is None or known[0] != changed:
            known = changed, series_io.find_series(path, self._mu_water)[0]
            self._found[path] = known
        return known[1]


class SliceStore:
    """The decoded series of one cache folder.

    Args:
        cache: the folder; made when needed.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation and are found by manifest rows.
    """

    def __init__(self, cache: Path, mu_water: float = MU_WATER) -> None:
        self._cache = cache.absolute()
        self._mu_water = mu_water
        self._locator = Locator(mu_water)

    def open(self, info: SeriesInfo) -> StoredSeries:
        """The series, decoded now if it is not in the cache as its files are now.

        Raises:
            SeriesError: the series cannot be decoded, or its files have gone.
            OutputError: the cache cannot be written.
        """
        name = _index_name(info.path, series_uid(info), info.mu_water)
        known = self._look_up(name)
        if known is not None and known[0] == _names(info):
            return known[1]
        return self._renew(info, name)

    def open_row(self, row: ManifestRow, root: Path) -> StoredSeries:
        """The series of a manifest row; its files are only looked for if the index does not know them.

        Args:
            row: a row of a manifest.
            root: the folder that its path is relative to, `Manifest.root`.

        Raises:
            ManifestError: the path or the series in it has gone, or the series is not what the row says.
            SeriesError: the series cannot be decoded.
            OutputError: the cache cannot be written.
        """
        name = _index_name(root / row.path, row.uid, self._mu_water)
        known = self._look_up(name)
        if known is None:
            return self._renew(self._locator.locate(row, root), name)
        _check_shape(row, known[1].shape)
        return known[1]

    def known(self, row: ManifestRow, root: Path) -> StoredSeries | None:
        """The series of a manifest row if it is decoded already and its files have not changed since.

        Args:
            row: a row of a manifest.
            root: the folder that its path is relative to, `Manifest.root`.
        """
        found = self._look_up(_index_name(root / row.path, row.uid, self._mu_water))
        return None if found is None else found[1]

    def _look_up(self, name: str) -> tuple[list[str], StoredSeries] | None:
        """The files and the series that the index has under a name; None unless all is as it was."""
        try:
            entry = json.loads((self._cache / "index" / f"{name}.json").read_bytes())
            if _states(Path(path) for path in entry["states"]) != entry["states"]:
                return None
            stored = StoredSeries(
                self._volume_path(entry["key"]),
                tuple(entry["shape"]),
                tuple(entry["spacing_mm"]),
                tuple(entry["positions_mm"]),
                tuple(entry["digests"]),
            )
            files = entry["files"]
        except (OSError, ValueError, KeyError, TypeError):  # none, cut off or of another version
            return None
        return (files, stored) if _map(stored.path, stored.shape) is not None else None

    def _renew(self, info: SeriesInfo, name: str) -> StoredSeries:
        try:
            states = _states([*info.files, *_folders(info)])
            key = _digest([*_settings(info.mu_water), info.format, *(_file_digest(file) for file in info.files)])
        except OSError as error:
            raise SeriesError(f"{info.path}: cannot be read ({error.strerror}); scan it again") from error
        path = self._volume_path(key)
        mapped = _map(path, info.shape)
        volume = self._decode(info, path, states) if mapped is None else mapped
        digests = tuple(_slice_digest(hu) for hu in volume)
        stored = StoredSeries(path, info.shape, info.spacing_mm, info.positions_mm, digests)
        if time.time_ns() - max(max(state[1:]) for state in states.values()) > SETTLED_NS:
            self._write_index(name, info, key, {"states": states, "digests": digests})
        return stored

    def _decode(self, info: SeriesInfo, path: Path, states: dict[str, list[int]]) -> NDArray[np.int16]:
        series = series_io.read_series(info)
        values = to_int16(series)
        if _states(map(Path, states)) != states:
            raise SeriesError(f"{info.path}: changed while it was read; wait until it is complete and run again")
        write_file(path, lambda stream: np.lib.format.write_array(stream, values, allow_pickle=False))
        return values

    def _write_index(self, name: str, info: SeriesInfo, key: str, found: dict[str, Any]) -> None:
        geometry = {"shape": info.shape, "spacing_mm": info.spacing_mm, "positions_mm": info.positions_mm}
        entry = {"key": key, "files": _names(info), **found, **geometry}
        write_json(self._cache / "index" / f"{name}.json", entry)

    def _volume_path(self, key: str) -> Path:
        return self._cache / "volumes" / f"{key}.npy"


def to_int16(series: Series) -> NDArray[np.int16]:
    """(S, H, W) HU as the store keeps them: rounded, clipped to int16, padding as air (-1024 HU)."""
    limits = np.iinfo(np.int16)
    values = np.rint(series.hu).clip(limits.min, limits.max).astype(np.int16)
    if series.padding is not None:
        values[series.padding] = PADDING_HU  # a network should see air around the patient
    return values


def _map(path: Path, shape: tuple[int, int, int]) -> np.memmap[Any, np.dtype[np.int16]] | None:
    """The volume of a file; None if there is none, or not all of it."""
    try:
        volume = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError):
        return None
    return volume if volume.shape == shape and volume.dtype == np.int16 else None


def _index_name(path: Path, uid: str, mu_water: float) -> str:
    return _digest([*_settings(mu_water), str(path.resolve()), uid])


def _settings(mu_water: float) -> list[object]:
    """All besides the files that decides what they are decoded to."""
    return [_VERSION, __version__, mu_water]


def _names(info: SeriesInfo) -> list[str]:
    return [str(file.absolute()) for file in info.files]


def _folders(info: SeriesInfo) -> set[Path]:
    """The folders that a file could be added to or taken from."""
    return set() if info.files == (info.path,) else {info.path, *(file.parent for file in info.files)}


def _states(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Size and times of each path; the last of them cannot be set back, as the time of modification can."""
    return {
        str(path.absolute()): [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        for path, status in ((path, path.stat()) for path in paths)
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def _slice_digest(hu: NDArray[np.int16]) -> str:
    """Tells a slice from any other that was measured; blank ones are all alike."""
    return "" if (hu == hu.flat[0]).all() else hashlib.blake2b(hu.tobytes(), digest_size=8).hexdigest()


def _digest(values: Iterable[object]) -> str:
    return hashlib.blake2b(json.dumps(list(values)).encode(), digest_size=20).hexdigest()


def _check_shape(row: ManifestRow, shape: tuple[int, int, int]) -> None:
    if shape != (row.slices, row.rows, row.columns):
        there, said = ("x".join(map(str, size)) for size in (shape, (row.slices, row.rows, row.columns)))
        raise ManifestError(f"series {row.series}: {row.path} is {there}, the manifest says {said}; scan again")
