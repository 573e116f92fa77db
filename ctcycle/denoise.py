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
from ctcycle.volumes import find_series, missing_from, read_series, write_corrected

_log = logging.getLogger(__name__)

_NAMED = 5


def denoise_all(config: Denoise) -> str:
    """Denoises every series under ``config.input``; one that cannot be done does not stop the others.

    Each appears under ``config.out`` at the place that it has under the input; what is there already stays. What was
    done, skipped and refused is written to ``summary.json``.

    Returns:
        What was done, for a terminal.

    Raises:
        SeriesError: nothing was found, some series could not be denoised, or files are damaged: the message names
            the first of them.
        BundleError: the run holds no denoiser.
        OutputError: output cannot be written.
    """
    denoiser = load_denoiser(config.model, config.checkpoint, config.device)
    found, skipped = find_series(config.input)
    for item in skipped:
        if item.damaged:
            _log.warning("%s: %s", item.path, item.reason)
    if not found:
        reasons = Counter(item.reason for item in skipped).most_common(1)
        why = f" ({reasons[0][0]})" if reasons else ""
        raise SeriesError(f"{config.input}: no CT found{why}; name a folder or file of DICOM, NIfTI or npy")
    derivation = Derivation(__version__, config.model.name, _digest(config), overwrite=config.overwrite)
    refused: list[dict[str, str]] = []
    denoised = 0
    for info, out in zip(found, output_paths(found, config.input, config.out), strict=True):
        try:
            _check_whole(info, skipped)
            denoised += _denoise_one(info, out, denoiser, derivation, assume_hu=config.assume_hu)
        except SeriesError as error:
            _log.warning("%s", error)
            refused.append({"path": str(info.path), "series": _short(series_uid(info)), "reason": str(error)})
    counts = {"denoised": denoised, "already_there": len(found) - denoised - len(refused)}
    left_out = {
        name: [{"path": str(item.path), "reason": item.reason} for item in skipped if item.damaged == damaged]
        for name, damaged in (("damaged", True), ("skipped", False))
    }
    write_json(config.out / "summary.json", {**counts, "refused": refused, **left_out})
    text = (
        f"{denoised} denoised, {counts['already_there']} were there already, {len(refused)} refused, "
        f"{len(left_out['skipped'])} skipped; -> {config.out}"
    )
    if problems := [*_named("refused", refused), *_named("damaged", left_out["damaged"])]:
        raise SeriesError(f"{text}; see summary.json: {'; '.join(problems)}")
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


def _check_whole(info: SeriesInfo, skipped: Sequence[Skipped]) -> None:
    if (hole := missing_from(info, skipped)) is not None:
        raise SeriesError(
            f"{info.path}: {hole.name} is damaged and may be one of the slices of this series, which would then have a "
            "hole; copy or export it again, or move it away"
        )


def _named(what: str, entries: Sequence[Mapping[str, str]]) -> list[str]:
    """The first of what went wrong, for one line."""
    if not entries:
        return []
    paths = ", ".join(entry["path"] for entry in entries[:_NAMED])
    more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return [f"{what} {paths}{more}"]


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _denoise_one(info: SeriesInfo, out: Path, denoiser: Denoiser, derivation: Derivation, *, assume_hu: bool) -> bool:
    """Whether the series was denoised; False where its output is there already."""
    if out.exists() and not derivation.overwrite:
        _log.info("%s: is there already", out)
        return False
    series = read_series(info, denoiser.mu_water, assume_hu=assume_hu)
    correction = np.zeros_like(series.hu)
    for number in tqdm(range(len(series.hu)), desc=info.path.name, unit="slice", dynamic_ncols=True):
        correction[number] = denoiser.correction(series.hu[number])
    write_corrected(info, correction, out, derivation, mu_water=denoiser.mu_water)
    return True


def _digest(config: Denoise) -> str:
    weights = config.model / "checkpoints" / f"{config.checkpoint}.pt"
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _short(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:8]
