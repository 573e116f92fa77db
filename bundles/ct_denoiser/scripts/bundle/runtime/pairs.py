# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Low and full dose of the same slices, as ``configs/evaluate.json`` and ``train.json`` of a bundle take them.

The score is protocol `hu2000` of ctcycle.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from scripts.atomic import write_json
from scripts.bundle.runtime.app import BundledModel
from scripts.ct.hounsfield import MU_WATER
from scripts.ct.measures import HU2000, score
from scripts.ct.series import SeriesInfo
from scripts.ct.series_io import check_hu, find_series, iterate_hu, sample_slices
from scripts.errors import SeriesError

MAX_APART_MM = 0.1
"""Slices whose positions differ by more are no pair."""

PROTOCOL = f"{HU2000.name}: {HU2000.description}"

_log = logging.getLogger(__name__)
HUImage = NDArray[np.float32]


@dataclass(frozen=True)
class SeriesPair:
    """A low-dose series and the full-dose series of the same slices, ``name`` being their common path."""

    name: str
    low: SeriesInfo
    full: SeriesInfo

    def slices(self) -> Iterator[tuple[HUImage, HUImage]]:
        """Slice by slice low dose and full dose, (H, W) each, in HU.

        Raises:
            SeriesError: one cannot be decoded, or does not look like HU.
        """
        for info in (self.low, self.full):
            check_hu(sample_slices(info))
        yield from zip(iterate_hu(self.low), iterate_hu(self.full), strict=True)


def find_pairs(low: Path, full: Path, mu_water: float = MU_WATER) -> list[SeriesPair]:
    """The series under two folders that have the same path there; where each has but one, these two.

    Args:
        low: folder (or file) of low-dose series.
        full: folder of the same series at full dose, laid out alike.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.

    Raises:
        SeriesError: a folder does not exist, nothing is a pair, or two series of a pair have different slices.
    """
    lows, fulls = (_by_place(root, mu_water) for root in (low, full))
    if len(lows) == len(fulls) == 1:
        fulls = dict(zip(lows, fulls.values(), strict=True))
    pairs = [SeriesPair(name, info, fulls[name]) for name, info in sorted(lows.items()) if name in fulls]
    if not pairs:
        raise SeriesError(f"{low} and {full}: no series lies at the same place in both; lay them out alike")
    for pair in pairs:
        _check_same_slices(pair)
    return pairs


def _by_place(root: Path, mu_water: float) -> dict[str, SeriesInfo]:
    found, _ = find_series(root, mu_water)
    places = Counter(info.path for info in found)
    crowded = next((path for path, count in places.items() if count > 1), None)
    if crowded is not None:
        raise SeriesError(f"{crowded}: holds {places[crowded]} series; give each a folder of its own")
    base = root if root.is_dir() else root.parent
    return {info.path.relative_to(base).as_posix(): info for info in found}


def _check_same_slices(pair: SeriesPair) -> None:
    if pair.low.shape != pair.full.shape:
        raise SeriesError(
            f"{pair.low.path}: is {pair.low.shape}, its full dose {pair.full.shape} (slices, rows, columns); "
            "a pair has the same slices"
        )
    apart = np.abs(np.subtract(pair.low.positions_mm, pair.full.positions_mm)).max(initial=0.0)
    if apart > MAX_APART_MM:
        raise SeriesError(
            f"{pair.low.path}: its slices lie up to {apart:.1f} mm from those of its full dose; a pair has the same "
            "slices"
        )


class PairFolder(Dataset[dict[str, Any]]):
    """The pairs of two folders, series by series; they are looked for when the first is asked for.

    Args:
        low: folder (or file) of low-dose series.
        full: folder of the same series at full dose, laid out alike.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
    """

    def __init__(self, low: str | Path, full: str | Path, mu_water: float = MU_WATER) -> None:
        self.low, self.full = Path(str(low)), Path(str(full))
        self._mu_water = mu_water

    @cached_property
    def pairs(self) -> list[SeriesPair]:
        """See `find_pairs`."""
        return find_pairs(self.low, self.full, self._mu_water)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``image`` and ``label``, (S, H, W) float32 in HU, and ``path``."""
        pair = self.pairs[index]
        low, full = (torch.from_numpy(np.stack(images)) for images in zip(*pair.slices(), strict=True))
        return {"image": low, "label": full, "path": pair.name}


@dataclass(frozen=True)
class PairEvaluation:
    """Scores the low dose and the denoised low dose of every pair against full dose.

    Attributes:
        dataset: the pairs.
        out: folder that ``evaluation.json`` is written to.
        model: the network.
    """

    dataset: PairFolder
    out: str | Path
    model: BundledModel

    def run(self) -> str:
        """Writes ``evaluation.json``, a record for each slice and the means, and gives the means as a table.

        Raises:
            SeriesError: there are no pairs, or one cannot be read or scored.
            OutputError: the file cannot be written.
        """
        records = list(self._records())
        means = {method: _means([record[method] for record in records]) for method in ("input", "denoised")}
        path = Path(str(self.out)) / "evaluation.json"
        write_json(path, {"protocol": PROTOCOL, "means": means, "slices": records})
        return f"{_table(means)}\n{len(records)} slices of {len(self.dataset)} series, {PROTOCOL}; -> {path}"

    def _records(self) -> Iterator[dict[str, Any]]:
        denoiser = self.model.denoiser()
        for pair in self.dataset.pairs:
            _log.info("%s: %d slices", pair.name, pair.low.shape[0])
            for number, (low, full) in enumerate(pair.slices()):
                yield {
                    "series": pair.name,
                    "slice": number,
                    "input": _scored(low, full),
                    "denoised": _scored(denoiser(low), full),
                }


def _scored(output: HUImage, reference: HUImage) -> dict[str, float | None]:
    """How far a slice is from its reference; ``psnr_db`` is None where the two are equal, as JSON knows no infinity."""
    found = score(HU2000, output, reference)
    return {
        "rmse_hu": found.rmse_hu,
        "psnr_db": found.psnr if math.isfinite(found.psnr) else None,
        "ssim": found.ssim,
    }


def _means(records: list[dict[str, float | None]]) -> dict[str, float | None]:
    known = {name: [one for record in records if (one := record[name]) is not None] for name in records[0]}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def _table(means: dict[str, dict[str, float | None]]) -> str:
    lines = [f"{'':10}{'RMSE HU':>10}{'PSNR dB':>10}{'SSIM':>10}"]
    for method, mean in means.items():
        cells = [f"{'-' if mean[name] is None else format(mean[name], form):>10}" for name, form in _FORMS.items()]
        lines.append(f"{method:10}{''.join(cells)}")
    return "\n".join(lines)


_FORMS = {"rmse_hu": ".1f", "psnr_db": ".2f", "ssim": ".4f"}
