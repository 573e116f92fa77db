"""Denoising of new series: a series, a volume, or a folder of many, to files of the same kind."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ctcycle import __version__
from ctcycle.atomic import write_json
from ctcycle.config.schema import Denoise
from ctcycle.denoiser import Denoiser, load_denoiser
from ctcycle.dicom import Derivation
from ctcycle.errors import SeriesError
from ctcycle.manifest import series_uid
from ctcycle.series import SeriesInfo
from ctcycle.volumes import find_series, read_series, write_corrected

_log = logging.getLogger(__name__)


def denoise_all(config: Denoise) -> str:
    """Denoises every series under ``config.input``; one that cannot be done does not stop the others.

    Each appears under ``config.out`` at the place that it has under the input; what is there already stays. What was
    done, skipped and refused is written to ``summary.json``.

    Returns:
        What was done, for a terminal.

    Raises:
        SeriesError: nothing was found, or some series could not be denoised: the message lists them.
        BundleError: the run holds no denoiser.
        OutputError: output cannot be written.
    """
    denoiser = load_denoiser(config.model, config.checkpoint, config.device)
    found, skipped = find_series(config.input)
    if not found:
        reasons = Counter(item.reason for item in skipped).most_common(1)
        why = f" ({reasons[0][0]})" if reasons else ""
        raise SeriesError(f"{config.input}: no CT found{why}; name a folder or file of DICOM, NIfTI or npy")
    derivation = Derivation(__version__, config.model.name, _digest(config), overwrite=config.overwrite)
    failed: dict[str, str] = {}
    for info, out in zip(found, output_paths(found, config.input, config.out), strict=True):
        try:
            _denoise_one(info, out, denoiser, derivation, assume_hu=config.assume_hu)
        except SeriesError as error:
            _log.warning("%s", error)
            failed[str(info.path)] = str(error)
    left_out = [{"path": str(item.path), "reason": item.reason} for item in skipped]
    summary = {"denoised": len(found) - len(failed), "refused": failed, "skipped": left_out}
    write_json(config.out / "summary.json", summary)
    text = f"{len(found) - len(failed)} of {len(found)} series denoised, {len(skipped)} skipped; -> {config.out}"
    if failed:
        raise SeriesError(f"{text}; refused, see summary.json: {', '.join(failed)}")
    return text


def output_paths(found: Sequence[SeriesInfo], root: Path, out: Path) -> list[Path]:
    """Where each series goes: to its place under ``root``, under ``out``.

    A folder of slices that holds more than one series, or has series below it, gives each a folder of its own; slices
    that lie in ``root`` itself go to a folder of its name.
    """
    places = [_absolute(info.path) for info in found]
    top = _absolute(root)
    base = top if top.is_dir() and top not in places else min([top, *places], key=lambda place: len(place.parts)).parent
    crowded = {place for place, count in Counter(places).items() if count > 1}
    crowded |= {above for place in places for above in place.parents}
    return [
        out / place.relative_to(base) / (f"series-{_short(series_uid(info))}" if place in crowded else "")
        for info, place in zip(found, places, strict=True)
    ]


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _denoise_one(info: SeriesInfo, out: Path, denoiser: Denoiser, derivation: Derivation, *, assume_hu: bool) -> None:
    if out.exists() and not derivation.overwrite:
        _log.info("%s: is there already", out)
        return
    series = read_series(info, assume_hu=assume_hu)
    correction = np.zeros_like(series.hu)
    for number in tqdm(range(len(series.hu)), desc=info.path.name, unit="slice", dynamic_ncols=True):
        correction[number] = denoiser.correction(series.hu[number])
    write_corrected(info, correction, out, derivation)


def _digest(config: Denoise) -> str:
    weights = config.model / "checkpoints" / f"{config.checkpoint}.pt"
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _short(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:8]
