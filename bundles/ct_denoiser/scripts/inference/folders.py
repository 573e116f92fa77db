# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Denoise every series in a folder, write each atomically at its own path, and summarise the outcome."""

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
"""Passes images through one by one and reports progress; called with the images, their name and their number."""

_log = logging.getLogger(__name__)

_NAMED = 5


@dataclass(frozen=True)
class DenoiseOptions:
    """Options for denoising a folder.

    Attributes:
        overwrite: replace existing output.
        assume_hu: accept NIfTI and npy values that do not look like HU.
        residual: also write what was removed: the source minus the denoised series, in HU.
        uncertainty: also write the standard deviation of the results over flipped slices, in HU.
        strict: refuse a series that is unlike the training data instead of warning.
        keep_private: keep private DICOM elements.
        slice_axis: axis of stored arrays that NIfTI and npy volumes are cut along; None to choose it for each.
        progress: reports progress while slices are computed.
    """

    overwrite: bool = False
    assume_hu: bool = False
    residual: bool = False
    uncertainty: bool = False
    strict: bool = False
    keep_private: bool = False
    slice_axis: int | None = None
    progress: Progress | None = None

    @property
    def writing(self) -> WriteOptions:
        """The options for writing each output."""
        return WriteOptions(self.overwrite, self.keep_private)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of output to write for each series."""
        return ("denoised", *(("residual",) if self.residual else ()), *(("uncertainty",) if self.uncertainty else ()))


def denoise_folder(  # noqa: PLR0917 (in natural order; the last is optional)
    source: Path,
    out: Path,
    denoiser: Denoiser,
    derivation: Derivation,
    options: DenoiseOptions,
    fingerprint: Fingerprint | None = None,
) -> str:
    """Denoise every series under ``source``; if one fails, the others are still processed.

    Outputs are written under ``out`` with the folder layout of ``source``; existing ones are skipped. All denoised,
    skipped and refused series, and all warnings, are recorded in ``summary.json``. Slices are read, denoised and
    written one by one, so memory use does not grow with the length of a series.

    Args:
        source: a series, a volume, or a folder of many.
        out: the output folder.
        denoiser: the denoiser to apply.
        derivation: the derivation to record in DICOM headers.
        options: what to write and how.
        fingerprint: fingerprint of the training data; None if unknown.

    Returns:
        A summary for the terminal.

    Raises:
        SeriesError: no series were found, some could not be denoised, or files are damaged; the message names the
            first of them.
        BundleError: ``strict`` is set, but there is no fingerprint.
        OutputError: output cannot be written.
    """
    if options.strict and fingerprint is None:
        raise BundleError(
            "strict=true: the model has no fingerprint to compare series with; export it as a bundle first"
        )
    found, skipped = find_series(source, denoiser.mu.water, mu_air=denoiser.mu.air, slice_axis=options.slice_axis)
    found, skipped = _without_results(found, skipped)
    for item in skipped:
        if item.damaged or item.refused:
            _log.warning("%s: %s", item.path, item.reason)
    if not found:
        reasons = Counter(item.reason for item in skipped).most_common(1)
        why = f" ({reasons[0][0]})" if reasons else ""
        raise SeriesError(f"{source}: no CT found{why}; give a folder or file of DICOM, NIfTI or npy")
    work = _Denoising(denoiser, derivation, options, fingerprint)
    report = _Report(skipped)
    for info, paths in _with_output_paths(found, source, out, options.kinds):
        report.add(info, work, paths)
    write_json(out / "summary.json", report.summary())
    return report.sentence(out)


def _without_results(found: Sequence[SeriesInfo], skipped: Sequence[Skipped]) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Return the series that ctcycle did not make itself; its results are added to the skipped."""
    results = [
        Skipped(info.path, f"a result of ctcycle ({info.made_by}), not a scan") for info in found if info.made_by
    ]
    return [info for info in found if not info.made_by], [*skipped, *results]


def output_paths(found: Sequence[SeriesInfo], root: Path, out: Path) -> list[Path]:
    """Return the output path of each series: its path relative to ``root``, under ``out``.

    If a folder holds more than one series, or has series below it, each series gets its own subfolder. Slices directly
    in ``root`` go to a folder named after it.
    """
    paths = [_absolute(info.path) for info in found]
    top = _absolute(root)
    base = top if top.is_dir() and top not in paths else min([top, *paths], key=lambda path: len(path.parts)).parent
    shared = {path for path, count in Counter(paths).items() if count > 1}
    shared |= {parent for path in paths for parent in path.parents}
    return [
        out / path.relative_to(base) / (f"series-{_short(info)}" if path in shared else "")
        for info, path in zip(found, paths, strict=True)
    ]


def missing_from(info: SeriesInfo, skipped: Iterable[Skipped]) -> Path | None:
    """Return an unusable file that may be a slice of the series, leaving a gap; None if there is none.

    Damaged files next to the slices count, unless their SeriesInstanceUID (DICOM) or name (npy) shows that they belong
    to another series. Other refused files count if they share its SeriesInstanceUID.

    Args:
        info: from `find_series`.
        skipped: the files skipped by `find_series`.
    """
    return next((entry.path for entry in skipped if _may_belong(entry, info)), None)


def _with_output_paths(
    found: Sequence[SeriesInfo], source: Path, out: Path, kinds: Sequence[Kind]
) -> list[tuple[SeriesInfo, dict[Kind, Path]]]:
    """Return each series with the paths of its outputs.

    Raises:
        OutputError: two outputs would have the same path.
    """
    paths = output_paths(found, source, out)
    pairs = [
        (info, {kind: _output_path(path, kind) for kind in kinds}) for info, path in zip(found, paths, strict=True)
    ]
    counts = Counter(path for _info, outputs in pairs for path in outputs.values())
    if twice := [path for path, count in counts.items() if count > 1]:
        raise OutputError(
            f"{twice[0]}: two outputs would have this name; rename one of the inputs, or denoise them separately"
        )
    return pairs


def _output_path(path: Path, kind: Kind) -> Path:
    """Return the path of an output kind: that of the denoised series, with a suffix for residual and uncertainty."""
    if kind == "denoised":
        return path
    suffix = next((end for end in (*nifti.SUFFIXES[::-1], ".npy") if path.name.lower().endswith(end)), "")
    stem = path.name[: len(path.name) - len(suffix)]
    return path.with_name(f"{stem}_{kind}{path.name[len(stem) :]}" if suffix else f"{path.name}-{kind}")


@dataclass(frozen=True)
class _Denoising:
    """The steps that are applied to each series."""

    denoiser: Denoiser
    derivation: Derivation
    options: DenoiseOptions
    fingerprint: Fingerprint | None

    def due(self, paths: Mapping[Kind, Path]) -> list[Kind]:
        """Return the outputs that still have to be written."""
        return [kind for kind, path in paths.items() if self.options.overwrite or not path.exists()]

    def check(self, info: SeriesInfo) -> list[str]:
        """Return how a series differs from the training data.

        Raises:
            SeriesError: it cannot be read, does not look like HU, or differs from the training data with ``strict``.
        """
        sample = sample_slices(info)
        if not self.options.assume_hu:
            check_hu(sample)
        found = [] if self.fingerprint is None else departures(self.fingerprint, sample.hu)
        if found and self.options.strict:
            raise SeriesError(f"{info.path}: {'; '.join(found)}; set strict=false to denoise it anyway")
        return [*info.notes, *found]

    def write(self, info: SeriesInfo, kind: Kind, paths: Mapping[Kind, Path]) -> None:
        """Write one of the outputs."""
        derivation, writing = replace(self.derivation, kind=kind), self.options.writing
        slices = iterate_hu(info, self.options.assume_hu)
        if kind == "denoised":
            corrections = self._with_progress(map(self.denoiser.correction, slices), info, kind)
            write_corrected(info, corrections, paths[kind], derivation, writing)
        elif kind == "uncertainty":
            maps = self._with_progress(map(self.denoiser.uncertainty, slices), info, kind)
            write_map(info, maps, paths[kind], derivation, writing)
        else:  # computed from the stored values, so that source, result and residual agree to the last bit
            denoised = iterate_hu(as_written(info, paths["denoised"]), assume_hu=True)
            removed = (low - result for low, result in zip(slices, denoised, strict=True))
            write_map(info, removed, paths[kind], derivation, writing)

    def _with_progress(self, images: Images, info: SeriesInfo, kind: Kind) -> Images:
        if self.options.progress is None:
            return images
        name = info.path.name if kind == "denoised" else f"{info.path.name} {kind}"
        return self.options.progress(images, name, info.shape[0])


class _Report:
    """Collects the outcome of each series."""

    def __init__(self, skipped: Sequence[Skipped]) -> None:
        self.denoised = self.already_there = 0
        self.skipped = skipped
        self.refused = [_as_entry(item) for item in skipped if item.refused and not item.damaged]
        self.warnings: list[dict[str, str]] = []

    def add(self, info: SeriesInfo, work: _Denoising, paths: Mapping[Kind, Path]) -> None:
        """Denoise a series, or record why it was refused."""
        name = {"path": str(info.path), "series": _short(info)}
        try:
            _check_complete(info, self.skipped)
            due = work.due(paths)
            if not due:
                _log.info("%s: already exists, skipping", paths["denoised"])
                self.already_there += 1
                return
            for warning in work.check(info):
                _log.warning("%s: %s", info.path, warning)
                self.warnings.append({**name, "warning": warning})
            for kind in due:
                work.write(info, kind, paths)
            self.denoised += 1
        except SeriesError as error:
            _log.warning("%s", error)
            self.refused.append({**name, "reason": str(error)})

    def summary(self) -> dict[str, Any]:
        """Return the full report as JSON data."""
        return {
            "denoised": self.denoised,
            "already_there": self.already_there,
            "refused": self.refused,
            "warnings": self.warnings,
            "damaged": [_as_entry(item) for item in self.skipped if item.damaged],
            "skipped": [_as_entry(item) for item in self.skipped if not (item.damaged or item.refused)],
        }

    def sentence(self, out: Path) -> str:
        """Return the report as one line.

        Raises:
            SeriesError: series were refused or files are damaged.
        """
        counts = self.summary()
        text = (
            f"{self.denoised} denoised, {self.already_there} already done, {len(self.refused)} refused, "
            f"{len(counts['skipped'])} skipped; -> {out}"
        )
        if problems := [*_named("refused", self.refused), *_named("damaged", counts["damaged"])]:
            raise SeriesError(f"{text}; see summary.json: {'; '.join(problems)}")
        return text


def _as_entry(item: Skipped) -> dict[str, str]:
    return {"path": str(item.path), "reason": item.reason}


def _check_complete(info: SeriesInfo, skipped: Sequence[Skipped]) -> None:
    if (gap := missing_from(info, skipped)) is not None:
        raise SeriesError(
            f"{info.path}: {gap.name} is unreadable or refused and may belong to this series, leaving a gap; "
            "re-export it or move it elsewhere"
        )


def _may_belong(entry: Skipped, info: SeriesInfo) -> bool:
    if not entry.damaged:
        return entry.refused and _is_beside(entry, info) and info.uid == entry.uid != ""
    if info.format == "npy":
        return entry.path.name.lower().endswith(".npy") and npy.may_belong(entry.path, info)
    if info.format == "nifti" or entry.path.name.lower().endswith((".npy", *nifti.SUFFIXES)):
        return False
    return _is_beside(entry, info) and info.uid.startswith(entry.uid)


def _is_beside(entry: Skipped, info: SeriesInfo) -> bool:
    return entry.path == info.path or (entry.path.parent == info.path and not entry.path.is_dir())


def _named(what: str, entries: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the first few entries as text for one line."""
    if not entries:
        return []
    paths = ", ".join(entry["path"] for entry in entries[:_NAMED])
    more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return [f"{what} {paths}{more}"]


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _short(info: SeriesInfo) -> str:
    return hashlib.sha256(series_uid(info).encode()).hexdigest()[:8]
