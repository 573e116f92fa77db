"""Denoising of new series: a series, a volume, or a folder of many, to files of the same kind."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
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
from ctcycle.series import SeriesInfo, Skipped
from ctcycle.volumes import find_series, read_series, write_corrected

_log = logging.getLogger(__name__)
_MOST_NAMED = 5


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
    refused = [item for item in skipped if item.kind != "other"]
    done = {"denoised": 0, "there already": 0}
    for info, out in zip(found, output_paths(found, config.input, config.out), strict=True):
        try:
            _check_whole(info, skipped)
            done[_denoise_one(info, out, denoiser, derivation, assume_hu=config.assume_hu)] += 1
        except SeriesError as error:
            refused.append(Skipped(info.path, str(error), "refused"))
    for item in refused:
        _log.warning("%s: %s", item.path, item.reason.removeprefix(f"{item.path}: "))
    return _summarise(config, done, refused, [item for item in skipped if item.kind == "other"])


def _check_whole(info: SeriesInfo, skipped: Sequence[Skipped]) -> None:
    """Raises SeriesError where a damaged file may be a slice of the series: a hole in a volume is dangerous."""
    for item in skipped:
        if item.kind == "damaged" and info.path in {item.path, item.path.parent}:
            raise SeriesError(
                f"{info.path}: a slice may be missing, since {item.path.name} is damaged; "
                "copy it again, or take it away to have the others denoised"
            )


def _summarise(config: Denoise, done: Mapping[str, int], refused: Sequence[Skipped], others: Sequence[Skipped]) -> str:
    """Writes what was done to ``summary.json`` and says it; raises SeriesError where something was refused."""
    lists = {"refused": refused, "skipped": others}
    told = {name: [{"path": str(item.path), "reason": item.reason} for item in items] for name, items in lists.items()}
    write_json(config.out / "summary.json", {**done, **told})
    counts = {**done, "refused": len(refused), "skipped": len(others)}
    text = ", ".join(f"{count} {what}" for what, count in counts.items())
    if refused:
        more = ", ..." if len(refused) > _MOST_NAMED else ""
        names = ", ".join(str(item.path) for item in refused[:_MOST_NAMED])
        raise SeriesError(f"{text}; see {config.out / 'summary.json'} for what was refused: {names}{more}")
    return f"series: {text}; -> {config.out}"


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


def _denoise_one(info: SeriesInfo, out: Path, denoiser: Denoiser, derivation: Derivation, *, assume_hu: bool) -> str:
    if out.exists() and not derivation.overwrite:
        _log.info("%s: is there already", out)
        return "there already"
    series = read_series(info, assume_hu=assume_hu)
    correction = np.zeros_like(series.hu)
    for number in tqdm(range(len(series.hu)), desc=info.path.name, unit="slice", dynamic_ncols=True):
        correction[number] = denoiser.correction(series.hu[number])
    write_corrected(info, correction, out, derivation)
    return "denoised"


def _digest(config: Denoise) -> str:
    weights = config.model / "checkpoints" / f"{config.checkpoint}.pt"
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _short(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:8]
