"""From a manifest to the slices that a training run sees and is validated on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcycle.data.domains import UnpairedScheme, domains
from ctcycle.data.manifest import Manifest, ManifestRow, read_manifest
from ctcycle.data.pairs import SlicePair, SliceRef, pair_slices
from ctcycle.data.store import SliceStore, StoredSeries
from ctcycle.errors import ManifestError

HUSlice = NDArray[np.int16]


Seen = Callable[[Iterable[ManifestRow]], Iterable[ManifestRow]]


def open_store(manifest: Path, folder: Path | None, mu_water: float) -> SliceStore:
    """The store of decoded slices in ``folder``, or in one beside the manifest.

    Args:
        manifest: path of the manifest.
        folder: None for the default.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
    """
    return SliceStore(folder or manifest.parent / ".ctcycle_store", mu_water)


class StoredSlices(Sequence[HUSlice]):
    """Slices (H, W) int16 in HU, mapped from disk; cheap to hand to loader workers.

    Args:
        series: decoded series by their manifest key.
        places: which slice of which series each entry is.
    """

    def __init__(self, series: Mapping[str, StoredSeries], places: Sequence[SliceRef]) -> None:
        self.series = {key: series[key] for key in {place.series for place in places}}
        self.places = list(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> HUSlice:  # type: ignore[override]  # slices of slices are never needed
        place = self.places[index]
        image: HUSlice = self.series[place.series].hu[place.slice_index]
        return image


@dataclass(frozen=True)
class SliceData:
    """The series of a manifest, decoded, with the ways to draw slices from them.

    Attributes:
        manifest: the rows that may be used.
        series: decoded, by manifest key.
    """

    manifest: Manifest
    series: Mapping[str, StoredSeries]

    def unpaired(self, protocol: UnpairedScheme, seed: int) -> tuple[StoredSlices, StoredSlices]:
        """Low-dose and full-dose slices of the training patients, under an unpaired protocol."""
        low, full = (self.manifest.select(dose=dose, split="train").rows for dose in ("low_dose", "full_dose"))
        found = domains(low, full, protocol, seed, self.positions)
        return StoredSlices(self.series, found.low_dose), StoredSlices(self.series, found.full_dose)

    def paired(self, split: str) -> tuple[StoredSlices, StoredSlices]:
        """Low-dose slices of the patients of ``split`` and, entry by entry, full-dose slices of the same anatomy."""
        pairs = self.pairs(split)
        low, full = ([getattr(pair, dose) for pair in pairs] for dose in ("low_dose", "full_dose"))
        return StoredSlices(self.series, low), StoredSlices(self.series, full)

    def pairs(self, split: str) -> list[SlicePair]:
        """The pairs of slices of the patients of ``split``.

        Raises:
            ManifestError: there is none.
        """
        try:
            return pair_slices(self.manifest.select(split=split).rows, self.positions)  # type: ignore[arg-type]
        except ManifestError as error:
            raise ManifestError(f"{self.manifest.path}, split '{split}': {error}") from error

    def has_pairs(self, split: str) -> bool:
        """Whether any patient of ``split`` has slices in both doses."""
        try:
            return bool(self.pairs(split))
        except ManifestError:
            return False

    def positions(self, row: ManifestRow) -> Sequence[float]:
        """Slice positions of a series."""
        return self.series[row.series].positions_mm

    def row(self, key: str) -> ManifestRow:
        """The manifest row of a series."""
        return next(row for row in self.manifest if row.series == key)


def load_slices(
    path: Path, store: SliceStore, *, kernel: str | None, splits: Sequence[str], seen: Seen = iter
) -> SliceData:
    """Reads a manifest and decodes, once and for all, the series that are needed.

    Args:
        path: the manifest.
        store: where decoded slices are kept.
        kernel: only series of this kernel; None takes all.
        splits: only series of these splits.
        seen: wraps the rows while they are decoded: a progress bar.

    Raises:
        ManifestError: the manifest is wrong, holds no series that fits, or the same slices in two splits.
        SeriesError: a series cannot be decoded.
    """
    chosen = read_manifest(path).select(kernel=kernel)
    rows = tuple(row for row in chosen if row.split in splits and row.dose)
    if not rows:
        raise ManifestError(_no_series(path, kernel, splits))
    series = {row.series: store.open_row(row, path.parent) for row in seen(rows)}
    others = {row: store.known(row, path.parent) for row in chosen if row.split and row not in rows}
    _check_splits_apart([*((row, series[row.series]) for row in rows), *others.items()])
    return SliceData(Manifest(path, rows), series)


def _check_splits_apart(found: Iterable[tuple[ManifestRow, StoredSeries | None]]) -> None:
    """Refuses splits that share slices: a patient has two names, and what is held out has been trained on.

    Raises:
        ManifestError: with the two series.
    """
    owners: dict[str, ManifestRow] = {}
    for row, series in found:
        for digest in series.digests if series and row.split else ():
            owner = owners.setdefault(digest, row) if digest else row
            if owner.split != row.split:
                raise ManifestError(
                    f"series {owner.series} (split {owner.split}) and {row.series} (split {row.split}) hold the same "
                    "slices: they are of one patient; give both the same 'patient' and split, or remove one"
                )


def _no_series(path: Path, kernel: str | None, splits: Sequence[str]) -> str:
    kernels = sorted({row.kernel or "unknown" for row in read_manifest(path) if row.split in splits and row.dose})
    only = f" of kernel '{kernel}'" if kernel else ""
    todo = f"there are kernels {', '.join(kernels)}" if kernels else "fill in the columns dose and split"
    return f"{path}: no series{only} with a dose in split {' or '.join(splits)}; {todo}"
