"""Cache of decoded series: one memory-mapped int16 file in HU per series.

A cache folder holds ``volumes/<key>.npy`` and ``index/<name>.json``. The key is a hash of the bytes of all files of the
series and of the decoding settings. The index records the key together with the sizes and times of the files and the
times of their folders. While these are unchanged, only the index is read; if only times changed, the files are hashed
again; if bytes changed, they are decoded again. Each volume ends with a checksum of its HU, which is compared if the
volume's size or times are not those in the index; a volume that differs from it is decoded again. The folder can be
deleted at any time, and several processes may use it concurrently.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ctcycle import __version__
from ctcycle.atomic import remove_leftovers, write_file, write_json
from ctcycle.ct import series_io
from ctcycle.ct.hounsfield import MU_AIR, MU_WATER
from ctcycle.ct.series import Series, SeriesInfo, SlicePlane, series_uid
from ctcycle.ct.stored_values import PADDING_HU
from ctcycle.data.manifest import ManifestRow
from ctcycle.errors import ManifestError, OutputError, SeriesError

SETTLED_NS = 2_000_000_000
"""Files younger than this are always hashed: a second change may fall into the same clock tick."""

_VERSION = 4
_CHECKSUM_BYTES = 20
_OPEN_VOLUMES = 512

_FIELD_OF_VIEW_MM = 360.0
"""Assumed for series that do not record their pixel spacing."""


@dataclass(frozen=True)
class StoredSeries:
    """A decoded series on disk; pickled as path and geometry, so that loader workers map the file themselves.

    Attributes:
        path: the file with the HU.
        shape: slices, rows, columns.
        spacing_mm: between slices, rows, columns; 0.0 if unknown.
        positions_mm: one per slice along the slice normal, or slice numbers if the format has no positions.
        digests: a hash of the HU of each slice, independent of the source file; empty for a constant slice. Not
            pickled, since loader workers do not need them.
        plane: orientation and location of the slices; None if unknown. Not pickled either.
    """

    path: Path
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    positions_mm: tuple[float, ...]
    digests: tuple[str, ...] = field(default=(), compare=False)
    plane: SlicePlane | None = field(default=None, compare=False)

    @property
    def hu(self) -> NDArray[np.int16]:
        """Return the HU (S, H, W) as a read-only memory map; values are clipped to int16, padding is -1024.

        Raises:
            OutputError: the file was removed or cut; reading a map of it would end the process.
        """
        try:
            status = self.path.stat()
            volume = _recent_map(self.path, self.shape, (status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            volume = None
        if volume is None or status.st_size < volume.nbytes:
            raise OutputError(f"{self.path}: was removed or damaged while in use; rerun to decode it again")
        return volume

    @property
    def pixel_mm(self) -> float:
        """The side of a square pixel of the same area; unknown spacings are taken for a field of 360 mm."""
        _, row, column = self.spacing_mm
        return float(np.sqrt(row * column)) if row > 0 and column > 0 else _FIELD_OF_VIEW_MM / max(self.shape[1:])

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredSeries, (self.path, self.shape, self.spacing_mm, self.positions_mm)


class Locator:
    """Locates the files of manifest rows; a folder that holds several series is searched only once.

    Args:
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        mu_air: attenuation of air in 1/mm, likewise.
    """

    def __init__(self, mu_water: float = MU_WATER, mu_air: float = MU_AIR) -> None:
        self._mu_water, self._mu_air = mu_water, mu_air
        self._found: dict[tuple[Path, int | None], tuple[int, list[SeriesInfo]]] = {}

    def locate(self, row: ManifestRow, root: Path) -> SeriesInfo:
        """Return the series of a row.

        Args:
            row: a row of a manifest.
            root: the folder that its path is relative to, `Manifest.root`.

        Raises:
            ManifestError: the path or its series is missing, or the series does not match the row.
        """
        path = root / row.path
        resolved = path.resolve()
        here = [info for info in self._infos(path, row) if info.path.resolve() == resolved]
        matching = [info for info in here if series_uid(info) == row.uid]
        if len(matching) != 1:
            raise ManifestError(f"series {row.series}: {path} no longer contains it; scan again")
        _check_shape(row, matching[0].shape)
        return matching[0]

    def _infos(self, path: Path, row: ManifestRow) -> list[SeriesInfo]:
        try:
            changed = path.stat().st_mtime_ns
        except OSError as error:
            raise ManifestError(
                f"series {row.series}: {path} is missing; restore it, remove the row, or scan again"
            ) from error
        known = self._found.get((path, row.slice_axis))
        if known is None or known[0] != changed:
            found, _ = series_io.find_series(path, self._mu_water, mu_air=self._mu_air, slice_axis=row.slice_axis)
            known = self._found[path, row.slice_axis] = changed, found
        return known[1]


class SliceStore:
    """Decodes series on demand and keeps them in a cache folder.

    Args:
        cache: the folder; created when needed.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation and are found by manifest rows.
        mu_air: attenuation of air in 1/mm, likewise.
    """

    def __init__(self, cache: Path, mu_water: float = MU_WATER, mu_air: float = MU_AIR) -> None:
        self._cache = cache.absolute()
        self.mu = (mu_water, mu_air)
        self._locator = Locator(mu_water, mu_air)
        self._tidied = False

    def open(self, info: SeriesInfo) -> StoredSeries:
        """Return a series, decoding it if it is not cached or its files have changed.

        Raises:
            SeriesError: the series cannot be decoded, or its files are missing.
            OutputError: the cache cannot be written.
        """
        name = _index_name(info.path, series_uid(info), (info.mu_water, info.mu_air), info.slice_axis)
        known = self._look_up(name)
        if known is not None and known[0] == _names(info):
            return known[1]
        return self._renew(info, name)

    def open_row(self, row: ManifestRow, root: Path) -> StoredSeries:
        """Return the series of a manifest row; its files are located only if the index does not list them.

        Args:
            row: a row of a manifest.
            root: the folder that its path is relative to, `Manifest.root`.

        Raises:
            ManifestError: the path or its series is missing, or the series does not match the row.
            SeriesError: the series cannot be decoded.
            OutputError: the cache cannot be written.
        """
        name = _index_name(root / row.path, row.uid, self.mu, row.slice_axis)
        known = self._look_up(name)
        if known is None:
            return self._renew(self._locator.locate(row, root), name)
        _check_shape(row, known[1].shape)
        return known[1]

    def known(self, row: ManifestRow, root: Path) -> StoredSeries | None:
        """Return the series of a manifest row if it is cached and its files have not changed; otherwise None.

        Args:
            row: a row of a manifest.
            root: the folder that its path is relative to, `Manifest.root`.
        """
        found = self._look_up(_index_name(root / row.path, row.uid, self.mu, row.slice_axis))
        return None if found is None else found[1]

    def _look_up(self, name: str) -> tuple[list[str], StoredSeries] | None:
        """Return the files and the series of an index entry; None if it is missing or out of date."""
        try:
            entry = json.loads(self._index_path(name).read_bytes())
            if _states(Path(path) for path in entry["states"]) != entry["states"]:
                return None
            stored = StoredSeries(
                self._volume_path(entry["key"]),
                tuple(entry["shape"]),
                tuple(entry["spacing_mm"]),
                tuple(entry["positions_mm"]),
                tuple(entry["digests"]),
                _read_plane(entry["plane"]),
            )
            files, unchanged = entry["files"], entry.get("volume") == _states([stored.path])
        except (OSError, ValueError, KeyError, TypeError):  # missing, truncated or of another version
            return None
        if not unchanged:
            if _verified(stored.path, stored.shape) is None:
                return None
            with suppress(OutputError):  # another user's store may be read-only
                write_json(self._index_path(name), {**entry, "volume": _states([stored.path])})
        return files, stored

    def _renew(self, info: SeriesInfo, name: str) -> StoredSeries:
        try:
            states = _states([*info.files, *_folders(info)])
            settings = _settings((info.mu_water, info.mu_air), info.slice_axis)
            key = _digest([*settings, info.format, *(_file_digest(file) for file in info.files)])
        except OSError as error:
            raise SeriesError(f"{info.path}: cannot read ({error.strerror}); scan it again") from error
        path = self._volume_path(key)
        mapped = _verified(path, info.shape)
        volume = self._decode(info, path, states) if mapped is None else mapped
        digests = tuple(_slice_digest(hu) for hu in volume)
        stored = StoredSeries(path, info.shape, info.spacing_mm, info.positions_mm, digests, info.plane)
        if time.time_ns() - max(max(state[1:]) for state in states.values()) > SETTLED_NS:
            self._write_index(name, info, key, {"states": states, "digests": digests, "volume": _states([path])})
        return stored

    def _decode(self, info: SeriesInfo, path: Path, states: dict[str, list[int]]) -> NDArray[np.int16]:
        series = series_io.read_series(info)
        values = to_int16(series)
        if _states(map(Path, states)) != states:
            raise SeriesError(f"{info.path}: changed while being read; wait until it is complete and run again")
        if not self._tidied:
            remove_leftovers(path.parent)
            self._tidied = True
        write_file(path, lambda stream: _write_volume(stream, values))
        return values

    def _write_index(self, name: str, info: SeriesInfo, key: str, found: dict[str, Any]) -> None:
        geometry = {"shape": info.shape, "spacing_mm": info.spacing_mm, "positions_mm": info.positions_mm}
        entry = {"key": key, "files": _names(info), **found, **geometry, "plane": info.plane and asdict(info.plane)}
        write_json(self._index_path(name), entry)

    def _index_path(self, name: str) -> Path:
        return self._cache / "index" / f"{name}.json"

    def _volume_path(self, key: str) -> Path:
        return self._cache / "volumes" / f"{key}.npy"


def to_int16(series: Series) -> NDArray[np.int16]:
    """Return the HU (S, H, W) as stored: rounded, clipped to int16, padding set to air (-1024 HU)."""
    limits = np.iinfo(np.int16)
    values = np.rint(series.hu).clip(limits.min, limits.max).astype(np.int16)
    if series.padding is not None:
        values[series.padding] = PADDING_HU  # a network should see air around the patient
    return values


def _read_plane(entry: Any) -> SlicePlane | None:
    """Return the plane recorded in an index entry."""
    return SlicePlane(tuple(entry["directions"]), tuple(map(tuple, entry["corners_mm"]))) if entry else None


def _map(path: Path, shape: tuple[int, int, int]) -> np.memmap[Any, np.dtype[np.int16]] | None:
    """Map a volume file; return None if it is missing or incomplete."""
    try:
        volume = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError):
        return None
    return volume if volume.shape == shape and volume.dtype == np.int16 else None


@lru_cache(maxsize=_OPEN_VOLUMES)  # every map keeps a file open, of which a process may have only so many
def _recent_map(path: Path, shape: tuple[int, int, int], _state: tuple[int, int, int]) -> NDArray[np.int16] | None:
    return _map(path, shape)


def _verified(path: Path, shape: tuple[int, int, int]) -> np.memmap[Any, np.dtype[np.int16]] | None:
    """Map a volume file whose bytes have the checksum at its end; return None otherwise."""
    volume = _map(path, shape)
    if volume is None:
        return None
    with path.open("rb") as stream:
        stream.seek(volume.offset + volume.nbytes)
        intact = stream.read() == _checksum(volume)
    return volume if intact else None


def _write_volume(stream: IO[bytes], values: NDArray[np.int16]) -> None:
    np.lib.format.write_array(stream, values, allow_pickle=False)
    stream.write(_checksum(values))


def _checksum(volume: NDArray[np.int16]) -> bytes:
    found = hashlib.blake2b(digest_size=_CHECKSUM_BYTES)
    for hu in volume:
        found.update(np.ascontiguousarray(hu).data)
    return found.digest()


def _index_name(path: Path, uid: str, mu: tuple[float, float], slice_axis: int | None) -> str:
    return _digest([*_settings(mu, slice_axis), str(path.resolve()), uid])


def _settings(mu: tuple[float, float], slice_axis: int | None) -> list[object]:
    """Return everything other than the files that affects decoding; ``mu`` is that of water and of air."""
    return [_VERSION, __version__, *mu, slice_axis]


def _names(info: SeriesInfo) -> list[str]:
    return [str(file.absolute()) for file in info.files]


def _folders(info: SeriesInfo) -> set[Path]:
    """Return the folders whose contents affect the series."""
    return set() if info.files == (info.path,) else {info.path, *(file.parent for file in info.files)}


def _states(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Return size, modification time and change time of each path; unlike the former, the latter cannot be set."""
    return {
        str(path.absolute()): [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        for path, status in ((path, path.stat()) for path in paths)
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def _slice_digest(hu: NDArray[np.int16]) -> str:
    """Return a hash that identifies a slice; empty for constant slices, which are all alike."""
    return "" if (hu == hu.flat[0]).all() else hashlib.blake2b(hu.tobytes(), digest_size=8).hexdigest()


def _digest(values: Iterable[object]) -> str:
    return hashlib.blake2b(json.dumps(list(values)).encode(), digest_size=20).hexdigest()


def _check_shape(row: ManifestRow, shape: tuple[int, int, int]) -> None:
    if shape != (row.slices, row.rows, row.columns):
        actual, listed = ("x".join(map(str, size)) for size in (shape, (row.slices, row.rows, row.columns)))
        raise ManifestError(f"series {row.series}: {row.path} is {actual}, but the manifest says {listed}; scan again")
