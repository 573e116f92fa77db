"""Loading of the training and validation slices listed in a manifest."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct.hounsfield import MU_AIR
from ctcycle.data.domains import UnpairedScheme, domains
from ctcycle.data.manifest import Manifest, ManifestRow, read_manifest
from ctcycle.data.pairs import SlicePair, SliceRef, pair_slices
from ctcycle.data.store import SliceStore, StoredSeries
from ctcycle.errors import ManifestError

HUSlice = NDArray[np.int16]


Seen = Callable[[Iterable[ManifestRow]], Iterable[ManifestRow]]


def open_store(manifest: Path, folder: Path | None, mu_water: float, mu_air: float = MU_AIR) -> SliceStore:
    """Return the store of decoded slices.

    Args:
        manifest: path of the manifest.
        folder: the folder of the store; None for ``.ctcycle_store`` next to the manifest.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        mu_air: attenuation of air in 1/mm, likewise.
    """
    return SliceStore(store_folder(manifest, folder), mu_water, mu_air)


def store_folder(manifest: Path, folder: Path | None) -> Path:
    """Return the folder of the store: ``folder``, or by default ``.ctcycle_store`` next to the manifest."""
    return folder or manifest.parent / ".ctcycle_store"


class StoredSlices(Sequence[HUSlice]):
    """A sequence of memory-mapped slices (H, W), int16 in HU; cheap to pass to loader workers.

    Args:
        series: decoded series by their manifest key.
        refs: the series and slice index of each entry.
    """

    def __init__(self, series: Mapping[str, StoredSeries], refs: Sequence[SliceRef]) -> None:
        self.series = {key: series[key] for key in {ref.series for ref in refs}}
        self.refs = list(refs)

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> HUSlice:  # type: ignore[override]  # slices of slices are never needed
        ref = self.refs[index]
        image: HUSlice = self.series[ref.series].hu[ref.slice_index]
        return image if ref.window is None else ref.window.cut(image)

    def shapes(self) -> set[tuple[str, int, int]]:
        """Return the sizes that slices have: series, rows, columns."""
        windows = {(ref.series, ref.window) for ref in self.refs}
        sizes = ((key, self.series[key].shape[1:] if window is None else window[2:]) for key, window in windows)
        return {(key, *size) for key, size in sizes}

    def neighbour(self, index: int, step: int) -> HUSlice | None:
        """Return the slice ``step`` slices after entry ``index`` in its series; None beyond the ends of the series."""
        ref = self.refs[index]
        place = ref.slice_index + step
        if not 0 <= place < self.series[ref.series].shape[0]:
            return None
        return StoredSlices(self.series, [ref._replace(slice_index=place)])[0]


@dataclass(frozen=True)
class SliceData:
    """Decoded series of a manifest, from which paired and unpaired slices are selected.

    Attributes:
        manifest: the selected rows.
        series: the decoded series by manifest key.
    """

    manifest: Manifest
    series: Mapping[str, StoredSeries]

    def unpaired(self, protocol: UnpairedScheme, seed: int) -> tuple[StoredSlices, StoredSlices]:
        """Return low-dose and full-dose slices of the training patients under an unpaired scheme."""
        low, full = (self.manifest.select(dose=dose, split="train").rows for dose in ("low_dose", "full_dose"))
        found = domains(low, full, protocol, seed, self.positions)
        return StoredSlices(self.series, found.low_dose), StoredSlices(self.series, found.full_dose)

    def paired(self, split: str) -> tuple[StoredSlices, StoredSlices]:
        """Return low-dose slices of a split, and full-dose slices of the same anatomy in the same order."""
        pairs = self.pairs(split)
        low, full = ([getattr(pair, dose) for pair in pairs] for dose in ("low_dose", "full_dose"))
        return StoredSlices(self.series, low), StoredSlices(self.series, full)

    def pairs(self, split: str) -> list[SlicePair]:
        """Return the slice pairs of a split.

        Raises:
            ManifestError: the split has no pairs, or two series of a pair differ in their pixel grids.
        """
        rows = self.manifest.select(split=split).rows  # type: ignore[arg-type]
        try:
            return pair_slices(rows, self.positions, lambda row: self.series[row.series])
        except ManifestError as error:
            raise ManifestError(f"{self.manifest.path}, split '{split}': {error}") from error

    def has_pairs(self, split: str) -> bool:
        """Return whether a split has slice pairs, even if `pairs` refuses them for their pixel grids."""
        try:
            return bool(pair_slices(self.manifest.select(split=split).rows, self.positions))  # type: ignore[arg-type]
        except ManifestError:
            return False

    def positions(self, row: ManifestRow) -> Sequence[float]:
        """Return the slice positions of a series."""
        return self.series[row.series].positions_mm

    def row(self, key: str) -> ManifestRow:
        """Return the manifest row of a series."""
        return next(row for row in self.manifest if row.series == key)


def load_slices(
    path: Path, store: SliceStore, *, kernel: str | None, splits: Sequence[str], seen: Seen = iter
) -> SliceData:
    """Read a manifest and decode the selected series, unless the store already has them.

    Args:
        path: the manifest.
        store: the store of decoded slices.
        kernel: use only series of this kernel; None for all.
        splits: use only series of these splits.
        seen: wraps the rows while they are decoded, for a progress bar.

    Raises:
        ManifestError: the manifest is invalid, has no matching series, or has the same slices in two splits.
        SeriesError: a series cannot be decoded.
    """
    chosen = read_manifest(path).select(kernel=kernel)
    rows = tuple(row for row in chosen if row.split in splits and row.dose)
    if not rows:
        raise ManifestError(_no_series(path, kernel, splits))
    series = {row.series: store.open_row(row, path.parent) for row in seen(rows)}
    others = {row: store.known(row, path.parent) for row in chosen if row.split and row.series not in series}
    _check_splits_apart([*((row, series[row.series]) for row in rows), *others.items()])
    return SliceData(Manifest(path, rows), series)


def _check_splits_apart(found: Iterable[tuple[ManifestRow, StoredSeries | None]]) -> None:
    """Refuse splits that share slices: one patient is listed under two names, so held-out data leaks into training.

    Raises:
        ManifestError: two splits share slices; the message names both series.
    """
    owners: dict[str, ManifestRow] = {}
    for row, series in found:
        for digest in series.digests if series and row.split else ():
            owner = owners.setdefault(digest, row) if digest else row
            if owner.split != row.split:
                raise ManifestError(
                    f"series {owner.series} (split {owner.split}) and {row.series} (split {row.split}) contain the "
                    "same slices, so they belong to one patient; give both the same 'patient' and 'split', or remove "
                    "one"
                )


def _no_series(path: Path, kernel: str | None, splits: Sequence[str]) -> str:
    kernels = sorted({row.kernel or "unknown" for row in read_manifest(path) if row.split in splits and row.dose})
    only = f" of kernel '{kernel}'" if kernel else ""
    todo = f"available kernels: {', '.join(kernels)}" if kernels else "fill in the columns dose and split"
    return f"{path}: no series{only} with a known dose in split {' or '.join(splits)}; {todo}"
