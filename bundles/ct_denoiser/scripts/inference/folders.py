# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Series in, denoised series out: each at its place, as a whole or not at all, and an account of all of them."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scripts.atomic import write_json
from scripts.ct import nifti, npy
from scripts.ct.dicom import Derivation
from scripts.ct.series import SeriesInfo, Skipped, check_hu, series_uid
from scripts.ct.series_io import (
    WriteOptions,
    as_written,
    find_series,
    iterate_hu,
    sample_slices,
    write_corrected,
    write_map,
)
from scripts.errors import BundleError, OutputError, SeriesError
from scripts.inference.denoiser import Denoiser
from scripts.inference.fingerprint import Fingerprint, departures

Kind = Literal["denoised", "residual", "uncertainty"]
Images = Iterable[NDArray[np.float32]]
Progress = Callable[[Images, str, int], Images]
"""Passes images on, one by one, and tells how far it is: given what they belong to, and how many there will be."""

_log = logging.getLogger(__name__)

_NAMED = 5


@dataclass(frozen=True)
class DenoiseOptions:
    """What is wanted of a denoising.

    Attributes:
        overwrite: replace what is there already.
        assume_hu: take NIfTI and npy values for HU although they do not look like it.
        residual: also write what was removed: the series minus the denoised one, in HU.
        uncertainty: also write how far the results for flipped slices differ, in HU.
        strict: refuse a series that departs from what the model was trained on, instead of warning.
        keep_private: keep private DICOM elements.
        progress: shown while slices are computed.
    """

    overwrite: bool = False
    assume_hu: bool = False
    residual: bool = False
    uncertainty: bool = False
    strict: bool = False
    keep_private: bool = False
    progress: Progress | None = None

    @property
    def writing(self) -> WriteOptions:
        """How each of the outputs is written."""
        return WriteOptions(self.overwrite, self.keep_private)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is made of each series."""
        return ("denoised", *(("residual",) if self.residual else ()), *(("uncertainty",) if self.uncertainty else ()))


def denoise_folder(  # noqa: PLR0917 (in the order in which they are thought of; the last is optional)
    source: Path,
    out: Path,
    denoiser: Denoiser,
    derivation: Derivation,
    options: DenoiseOptions,
    fingerprint: Fingerprint | None = None,
) -> str:
    """Denoises every series under ``source``; one that cannot be done does not stop the others.

    Each appears under ``out`` at the place that it has under ``source``; what is there already stays. What was done,
    skipped and refused, and what it was warned of, is written to ``summary.json``. Slices are read, denoised and
    written one by one: a long series needs no more memory than a short one.

    Args:
        source: a series, a volume, or a folder of many.
        out: the folder for the results.
        denoiser: the network.
        derivation: what DICOM headers will say of it.
        options: what is wanted.
        fingerprint: what the network was trained on; None if unknown.

    Returns:
        What was done, for a terminal.

    Raises:
        SeriesError: nothing was found, some series could not be denoised, or files are damaged: the message names
            the first of them.
        BundleError: strict, without a fingerprint.
        OutputError: output cannot be written.
    """
    if options.strict and fingerprint is None:
        raise BundleError("strict: the model has no fingerprint to compare series with; export it as a bundle first")
    found, skipped = find_series(source, denoiser.mu_water)
    for item in skipped:
        if item.damaged or item.refused:
            _log.warning("%s: %s", item.path, item.reason)
    if not found:
        reasons = Counter(item.reason for item in skipped).most_common(1)
        why = f" ({reasons[0][0]})" if reasons else ""
        raise SeriesError(f"{source}: no CT found{why}; name a folder or file of DICOM, NIfTI or npy")
    work = _Work(denoiser, derivation, options, fingerprint)
    account = _Account(skipped)
    for info, places in _with_places(found, source, out, options.kinds):
        account.add(info, work, places)
    write_json(out / "summary.json", account.summary())
    return account.sentence(out)


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
        out / place.relative_to(base) / (f"series-{_short(info)}" if place in crowded else "")
        for info, place in zip(found, places, strict=True)
    ]


def missing_from(info: SeriesInfo, skipped: Iterable[Skipped]) -> Path | None:
    """A file that may be a slice of a series, which then has a hole, but cannot be used; None if there is none.

    Damaged files beside the slices count, unless their SeriesInstanceUID (DICOM) or name (npy) says that they belong
    elsewhere; others that are refused count where they share its SeriesInstanceUID.

    Args:
        info: from `find_series`.
        skipped: what `find_series` left out.
    """
    return next((entry.path for entry in skipped if _may_belong(entry, info)), None)


def _with_places(
    found: Sequence[SeriesInfo], source: Path, out: Path, kinds: Sequence[Kind]
) -> list[tuple[SeriesInfo, dict[Kind, Path]]]:
    """Each series, and where what is made of it goes.

    Raises:
        OutputError: two of them would go to one place.
    """
    paths = output_paths(found, source, out)
    pairs = [(info, {kind: _beside(path, kind) for kind in kinds}) for info, path in zip(found, paths, strict=True)]
    places = Counter(place for _info, places in pairs for place in places.values())
    if twice := [place for place, count in places.items() if count > 1]:
        raise OutputError(f"{twice[0]}: two of the results would have this name; rename or denoise one series alone")
    return pairs


def _beside(path: Path, kind: Kind) -> Path:
    """The name of a residual or uncertainty: that of the denoised series, with a suffix."""
    if kind == "denoised":
        return path
    suffix = next((end for end in (*nifti.SUFFIXES[::-1], ".npy") if path.name.lower().endswith(end)), "")
    stem = path.name[: len(path.name) - len(suffix)]
    return path.with_name(f"{stem}_{kind}{path.name[len(stem) :]}" if suffix else f"{path.name}-{kind}")


@dataclass(frozen=True)
class _Work:
    """What is done to each series."""

    denoiser: Denoiser
    derivation: Derivation
    options: DenoiseOptions
    fingerprint: Fingerprint | None

    def due(self, places: Mapping[Kind, Path]) -> list[Kind]:
        """What is not there yet."""
        return [kind for kind, place in places.items() if self.options.overwrite or not place.exists()]

    def check(self, info: SeriesInfo) -> list[str]:
        """How a series departs from what the model was trained on.

        Raises:
            SeriesError: it cannot be read, does not look like HU, or departs where that is not allowed.
        """
        sample = sample_slices(info)
        if not self.options.assume_hu:
            check_hu(sample)
        found = [] if self.fingerprint is None else departures(self.fingerprint, sample.hu)
        if found and self.options.strict:
            raise SeriesError(f"{info.path}: {'; '.join(found)}; strict allows only what the model was trained on")
        return found

    def write(self, info: SeriesInfo, kind: Kind, places: Mapping[Kind, Path]) -> None:
        """Makes one of the outputs."""
        derivation, writing = replace(self.derivation, kind=kind), self.options.writing
        slices = iterate_hu(info)
        if kind == "denoised":
            corrections = self._shown(map(self.denoiser.correction, slices), info, kind)
            write_corrected(info, corrections, places[kind], derivation, writing)
        elif kind == "uncertainty":
            maps = self._shown(map(self.denoiser.uncertainty, slices), info, kind)
            write_map(info, maps, places[kind], derivation, writing)
        else:  # of what is stored: the two series and their difference agree to the last bit
            denoised = iterate_hu(as_written(info, places["denoised"]))
            removed = (low - result for low, result in zip(slices, denoised, strict=True))
            write_map(info, removed, places[kind], derivation, writing)

    def _shown(self, images: Images, info: SeriesInfo, kind: Kind) -> Images:
        if self.options.progress is None:
            return images
        name = info.path.name if kind == "denoised" else f"{info.path.name} {kind}"
        return self.options.progress(images, name, info.shape[0])


class _Account:
    """What became of each series."""

    def __init__(self, skipped: Sequence[Skipped]) -> None:
        self.denoised = self.already_there = 0
        self.skipped = skipped
        self.refused = [_as_entry(item) for item in skipped if item.refused and not item.damaged]
        self.warnings: list[dict[str, str]] = []

    def add(self, info: SeriesInfo, work: _Work, places: Mapping[Kind, Path]) -> None:
        """Has a series done, or notes why it cannot be."""
        name = {"path": str(info.path), "series": _short(info)}
        try:
            _check_whole(info, self.skipped)
            due = work.due(places)
            if not due:
                _log.info("%s: is there already", places["denoised"])
                self.already_there += 1
                return
            for warning in work.check(info):
                _log.warning("%s: %s", info.path, warning)
                self.warnings.append({**name, "warning": warning})
            for kind in due:
                work.write(info, kind, places)
            self.denoised += 1
        except SeriesError as error:
            _log.warning("%s", error)
            self.refused.append({**name, "reason": str(error)})

    def summary(self) -> dict[str, Any]:
        """All of it, for a file."""
        return {
            "denoised": self.denoised,
            "already_there": self.already_there,
            "refused": self.refused,
            "warnings": self.warnings,
            "damaged": [_as_entry(item) for item in self.skipped if item.damaged],
            "skipped": [_as_entry(item) for item in self.skipped if not (item.damaged or item.refused)],
        }

    def sentence(self, out: Path) -> str:
        """All of it, for a line.

        Raises:
            SeriesError: not all could be done.
        """
        counts = self.summary()
        text = (
            f"{self.denoised} denoised, {self.already_there} were there already, {len(self.refused)} refused, "
            f"{len(counts['skipped'])} skipped; -> {out}"
        )
        if problems := [*_named("refused", self.refused), *_named("damaged", counts["damaged"])]:
            raise SeriesError(f"{text}; see summary.json: {'; '.join(problems)}")
        return text


def _as_entry(item: Skipped) -> dict[str, str]:
    return {"path": str(item.path), "reason": item.reason}


def _check_whole(info: SeriesInfo, skipped: Sequence[Skipped]) -> None:
    if (hole := missing_from(info, skipped)) is not None:
        raise SeriesError(
            f"{info.path}: {hole.name} is damaged or refused and may be a slice of this series, which would then have "
            "a hole; copy or export it again, or move it away"
        )


def _may_belong(entry: Skipped, info: SeriesInfo) -> bool:
    if not entry.damaged:
        return entry.refused and _lies_beside(entry, info) and info.uid == entry.uid != ""
    if info.format == "npy":
        return entry.path.name.lower().endswith(".npy") and npy.may_belong(entry.path, info)
    if info.format == "nifti" or entry.path.name.lower().endswith((".npy", *nifti.SUFFIXES)):
        return False
    return _lies_beside(entry, info) and info.uid.startswith(entry.uid)


def _lies_beside(entry: Skipped, info: SeriesInfo) -> bool:
    return entry.path == info.path or (entry.path.parent == info.path and not entry.path.is_dir())


def _named(what: str, entries: Sequence[Mapping[str, str]]) -> list[str]:
    """The first of what went wrong, for one line."""
    if not entries:
        return []
    paths = ", ".join(entry["path"] for entry in entries[:_NAMED])
    more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return [f"{what} {paths}{more}"]


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _short(info: SeriesInfo) -> str:
    return hashlib.sha256(series_uid(info).encode()).hexdigest()[:8]
