# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Pairs of low and full dose for ``configs/evaluate.json`` and ``train.json`` of a bundle.

Scores follow protocol `hu2000` of ctcycle.
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
from scripts.ct.grids import Window, common_windows
from scripts.ct.hounsfield import MU_AIR, MU_WATER
from scripts.ct.measures import HU2000, score
from scripts.ct.series import SeriesInfo
from scripts.ct.series_io import check_hu, find_series, iterate_hu, sample_slices
from scripts.errors import SeriesError

MAX_APART_MM = 0.1
"""Maximum difference between the positions of paired slices."""

PROTOCOL = f"{HU2000.name}: {HU2000.description}"

_log = logging.getLogger(__name__)
HUImage = NDArray[np.float32]


@dataclass(frozen=True)
class SeriesPair:
    """A low-dose and a full-dose series of the same slices; ``name`` is their common relative path."""

    name: str
    low: SeriesInfo
    full: SeriesInfo

    def slices(self) -> Iterator[tuple[HUImage, HUImage]]:
        """Yield low dose and full dose slice by slice, (H, W) each, in HU.

        If the series are shifted by whole pixels, only the part that both contain is returned.

        Raises:
            SeriesError: a series cannot be decoded or does not look like HU, or the pixel grids differ.
        """
        for info in (self.low, self.full):
            check_hu(sample_slices(info))
        low_window, full_window = self.windows()
        for low, full in zip(iterate_hu(self.low), iterate_hu(self.full), strict=True):
            yield (
                low if low_window is None else low_window.cut(low),
                full if full_window is None else full_window.cut(full),
            )

    def windows(self) -> tuple[Window | None, Window | None]:
        """Return the windows that show the same anatomy pixel by pixel, as `common_windows`.

        Raises:
            SeriesError: the pixel grids differ.
        """
        try:
            return common_windows(self.low, self.full, [(index, index) for index in range(self.low.shape[0])])
        except SeriesError as error:
            raise SeriesError(
                f"{self.low.path} (low dose) and {self.full.path} (full dose): {error}; reconstruct or resample one on "
                "the pixel grid of the other, or remove one"
            ) from error


def find_pairs(low: Path, full: Path, mu_water: float = MU_WATER, mu_air: float = MU_AIR) -> list[SeriesPair]:
    """Return pairs of series with the same relative path in two folders, or the only series of each.

    Args:
        low: folder (or file) of low-dose series.
        full: folder of the same series at full dose, with the same layout.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        mu_air: attenuation of air in 1/mm, likewise.

    Raises:
        SeriesError: a folder does not exist, there are no pairs, or two series differ in slices or grid.
    """
    lows, fulls = (_by_path(root, mu_water, mu_air) for root in (low, full))
    if len(lows) == len(fulls) == 1:
        fulls = dict(zip(lows, fulls.values(), strict=True))
    pairs = [SeriesPair(name, info, fulls[name]) for name, info in sorted(lows.items()) if name in fulls]
    if not pairs:
        raise SeriesError(f"{low} and {full}: no series has the same path in both; give them the same layout")
    for pair in pairs:
        _check_same_slices(pair)
    return pairs


def _by_path(root: Path, mu_water: float, mu_air: float) -> dict[str, SeriesInfo]:
    found, _ = find_series(root, mu_water, mu_air=mu_air)
    counts = Counter(info.path for info in found)
    shared = next((path for path, count in counts.items() if count > 1), None)
    if shared is not None:
        raise SeriesError(f"{shared}: contains {counts[shared]} series; move each into its own folder")
    base = root if root.is_dir() else root.parent
    return {info.path.relative_to(base).as_posix(): info for info in found}


def _check_same_slices(pair: SeriesPair) -> None:
    if pair.low.shape != pair.full.shape:
        raise SeriesError(
            f"{pair.low.path}: low dose is {pair.low.shape}, full dose is {pair.full.shape} (slices, rows, columns); "
            "a pair must have the same slices"
        )
    apart = np.abs(np.subtract(pair.low.positions_mm, pair.full.positions_mm)).max(initial=0.0)
    if apart > MAX_APART_MM:
        raise SeriesError(
            f"{pair.low.path}: slices are up to {apart:.1f} mm from those of the full dose; a pair must have the same "
            "slices"
        )
    for info in (pair.low, pair.full):
        if not info.is_volume:
            raise SeriesError(f"{info.path}: has several images at one position; separate them to form pairs")
    pair.windows()


class PairFolder(Dataset[dict[str, Any]]):
    """The series pairs in two folders, which are scanned on first access.

    Args:
        low: folder (or file) of low-dose series.
        full: folder of the same series at full dose, with the same layout.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        mu_air: attenuation of air in 1/mm, likewise.
    """

    def __init__(self, low: str | Path, full: str | Path, mu_water: float = MU_WATER, mu_air: float = MU_AIR) -> None:
        self.low, self.full = Path(str(low)), Path(str(full))
        self._mu_water, self._mu_air = mu_water, mu_air

    @cached_property
    def pairs(self) -> list[SeriesPair]:
        """The pairs, see `find_pairs`."""
        return find_pairs(self.low, self.full, self._mu_water, self._mu_air)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``image`` and ``label``, (S, H, W) float32 in HU, and ``path``."""
        pair = self.pairs[index]
        low, full = (torch.from_numpy(np.stack(images)) for images in zip(*pair.slices(), strict=True))
        return {"image": low, "label": full, "path": pair.name}


@dataclass(frozen=True)
class PairEvaluation:
    """Scores the low dose and the denoised low dose of every pair, with full dose as reference.

    Attributes:
        dataset: the pairs.
        out: output folder for ``evaluation.json``.
        model: the network.
    """

    dataset: PairFolder
    out: str | Path
    model: BundledModel

    def run(self) -> str:
        """Write ``evaluation.json`` with the scores of each slice and their means, and return the means as a table.

        Raises:
            SeriesError: there are no pairs, or a pair cannot be read or scored.
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
                    "input": _scores(low, full),
                    "denoised": _scores(denoiser(low), full),
                }


def _scores(output: HUImage, reference: HUImage) -> dict[str, float | None]:
    """Return the scores of a slice as JSON data; ``psnr_db`` is None for equal slices, since JSON has no infinity."""
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
