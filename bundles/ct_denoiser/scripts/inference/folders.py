# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Denoise every series in a folder, write each atomically at its own path, and summarise the outcome."""

import errno
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.ct.dicom import Derivation
from scripts.ct.series import Series, SeriesInfo, Skipped, check_hu, source_digest
from scripts.ct.series_io import (
    WriteOptions,
    as_written,
    find_series,
    iterate_hu,
    sample_slices,
    write_corrected,
    write_map,
)
from scripts.errors import BundleError, SeriesError
from scripts.inference.auto_strength import Choice, choose_strength
from scripts.inference.batch_report import Report
from scripts.inference.denoiser import Denoiser
from scripts.inference.engines.ahead import ahead, written_meanwhile
from scripts.inference.fingerprint import Fingerprint, series_warnings
from scripts.inference.gaps import check_complete
from scripts.inference.output_paths import Kind, short_key, with_output_paths
from scripts.inference.own_results import all_results, kind_of
from scripts.inference.records import Making, OutputRecords, refuse_other_source
from scripts.inference.sharing import Alone, Sharing

Images = Iterable[NDArray[np.float32]]
Progress = Callable[[Images, str, int], Images]
"""Passes images through one by one and reports progress; called with the images, their name and their number."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DenoiseOptions:
    """Options for denoising a folder.

    Attributes:
        overwrite: replace existing output.
        assume_hu: accept NIfTI and npy values that do not look like HU.
        residual: also write what was removed: the source minus the denoised series, in HU.
        uncertainty: also write the standard deviation of the results over flipped slices, in HU.
        strict: refuse a series that is unlike the training data or has the noise of a routine dose, instead of warning.
        keep_private: keep private DICOM elements.
        slice_axis: axis of stored arrays that NIfTI and npy volumes are cut along; None to choose it for each.
        progress: reports progress while slices are computed.
        sharing: the processes that share the series; by default this one denoises all.
        auto_strength: choose the strength for each series so that the noise of a routine dose is left, see
            `ctcycle.inference.auto_strength`; the strength of the denoiser is ignored.
        finished: called with the summary for the terminal if nothing was refused, just before ``summary.json`` is
            written.
    """

    overwrite: bool = False
    assume_hu: bool = False
    residual: bool = False
    uncertainty: bool = False
    strict: bool = False
    keep_private: bool = False
    slice_axis: int | None = None
    progress: Progress | None = None
    auto_strength: bool = False
    finished: Callable[[str], object] | None = None
    sharing: Sharing = field(default_factory=Alone)

    @property
    def writing(self) -> WriteOptions:
        """The options for writing each output."""
        return WriteOptions(self.keep_private)

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

    Outputs are written under ``out`` with the folder layout of ``source``; those that are recorded as the same are
    skipped, see `ctcycle.inference.records`. All denoised, skipped and refused series, and all warnings, are recorded
    in ``summary.json``; if a run is killed, the next one counts what it denoised as its own. Slices are read, denoised
    and written one by one, the next ones while the last is written, so memory use does not grow with the series.

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
        ConfigError: ``out`` holds results of other weights or options, and they may not be replaced.
        OutputError: output cannot be written, or ``out`` holds something at its path that ctcycle did not write.
    """
    if options.strict and fingerprint is None:
        raise BundleError(
            "strict=true: the model has no fingerprint to compare series with; export it as a bundle first"
        )
    sharing, mu, axis = options.sharing, denoiser.mu, options.slice_axis
    found, skipped = sharing.from_first(lambda: find_series(source, mu.water, mu_air=mu.air, slice_axis=axis))
    found, skipped = _without_results(found, skipped)
    for item in skipped:
        if item.damaged or item.refused:
            _log.warning("%s: %s", item.path, item.reason)
    if not found:
        reasons = Counter(item.reason for item in skipped).most_common(1)
        why = f" ({reasons[0][0]})" if reasons else ""
        raise SeriesError(f"{source}: no CT found{why}; give a folder or file of DICOM, NIfTI or npy")
    work = _Denoising(denoiser, derivation, options, fingerprint, OutputRecords(out))
    report, outputs = Report(skipped, out), with_output_paths(found, source, out, options.kinds)
    with sharing.opened_by_first(work.records.opened):
        every = [path for _info, paths in outputs for path in paths.values()]
        sharing.from_first(lambda: work.records.check(every, work.made_with, overwrite=options.overwrite))
        for number, (info, paths) in enumerate(outputs):
            if sharing.is_mine(number):
                _add(report, info, work, paths)
        report.collect(sharing)
        if sharing.is_first():
            report.write(all_results(out, (paths for _info, paths in outputs)), options.finished)
    return sharing.from_first(report.outcome)


def _without_results(found: Sequence[SeriesInfo], skipped: Sequence[Skipped]) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Return the series that ctcycle did not make itself; its results are added to the skipped."""
    kinds = [kind_of(info) for info in found]
    results = [
        Skipped(info.path, f"a result of ctcycle ({kind}), not a scan")
        for info, kind in zip(found, kinds, strict=True)
        if kind
    ]
    return [info for info, kind in zip(found, kinds, strict=True) if not kind], [*results, *skipped]


@dataclass(frozen=True)
class _Denoising:
    """The steps that are applied to each series."""

    denoiser: Denoiser
    derivation: Derivation
    options: DenoiseOptions
    fingerprint: Fingerprint | None
    records: OutputRecords

    @property
    def made_with(self) -> dict[str, Any]:
        """Everything that the outputs of all series have in common."""
        made = {"weights": self.derivation.model_digest, **self.denoiser.options()}
        if self.options.auto_strength:  # not the strength that was chosen for one series
            made["strength"] = "auto"
        return {**made, "keep_private": self.options.keep_private, "ctcycle": self.derivation.version}

    def making(self, info: SeriesInfo) -> Making:
        """Return what the outputs of a series are made with and from."""
        return Making(self.made_with, {"files": source_digest(info), "slice_axis": info.slice_axis})

    def due(self, info: SeriesInfo, making: Making, paths: Mapping[Kind, Path]) -> list[Kind]:
        """Return the outputs that still have to be written.

        Raises:
            SeriesError: one was made from other files, and it may not be replaced.
        """
        states = {kind: self.records.state(path, making) for kind, path in paths.items()}
        if self.options.overwrite:
            return list(states)
        if changed := [kind for kind, state in states.items() if state == "other source"]:
            raise refuse_other_source(info.path, paths[changed[0]])
        return [kind for kind, state in states.items() if state == "missing"]

    def sample(self, info: SeriesInfo) -> Series:
        """Return a sample of a series; SeriesError if it does not look like HU."""
        sample = sample_slices(info)
        if not self.options.assume_hu:
            check_hu(sample)
        return sample

    def check(self, sample: Series) -> list[str]:
        """Return how a series differs from the training data, and whether denoising would over-smooth it.

        Raises:
            SeriesError: there is something to warn of and ``strict`` is set.
        """
        given = bool(self.denoiser.strength) and not self.options.auto_strength
        found = series_warnings(sample, self.fingerprint, strength_is_given=given)
        if found and self.options.strict:
            raise SeriesError(f"{sample.info.path}: {'; '.join(found)}; set strict=false to denoise it anyway")
        return [*sample.info.notes, *found]

    def with_choice(self, sample: Series) -> tuple["_Denoising", Choice | None]:
        """Return the steps with the strength chosen for a series, and the choice; None if the strength is given.

        Raises:
            SeriesError: no strength can be chosen.
        """
        if not self.options.auto_strength:
            return self, None
        choice = choose_strength(self.denoiser, sample)
        what = f"{self.derivation.description} Strength {choice.strength:.2f} chosen for the noise of a routine dose."
        denoiser = self.denoiser.with_strength(choice.strength)
        return replace(self, denoiser=denoiser, derivation=replace(self.derivation, description=what)), choice

    def write(
        self, info: SeriesInfo, making: Making, kind: Kind, paths: Mapping[Kind, Path], remarks: Mapping[str, Any]
    ) -> None:
        """Write one of the outputs, and record the remarks with it."""
        settings = {**self.denoiser.options(), **making.source}
        described = replace(self.derivation, kind=kind, strength=self.denoiser.strength, settings=json.dumps(settings))
        derivation, writing = replace(described, source=str(making.source["files"])), self.options.writing
        slices = ahead(iterate_hu(info, self.options.assume_hu))
        with self.records.writing(paths[kind], making, remarks) as hidden:
            if kind == "residual":  # of the stored values, so that source, result and residual agree to the last bit
                denoised = iterate_hu(as_written(info, paths["denoised"]), assume_hu=True)
                removed = (low - result for low, result in zip(slices, denoised, strict=True))
                write_map(info, removed, hidden, derivation, writing)
                return
            compute = self.denoiser.correction if kind == "denoised" else self.denoiser.uncertainty
            write = write_corrected if kind == "denoised" else write_map
            images = self._with_progress(map(compute, slices), info, kind)
            written_meanwhile(images, lambda computed: write(info, computed, hidden, derivation, writing))

    def _with_progress(self, images: Images, info: SeriesInfo, kind: Kind) -> Images:
        if self.options.progress is None:
            return images
        name = info.path.name if kind == "denoised" else f"{info.path.name} {kind}"
        return self.options.progress(images, name, info.shape[0])


def _add(report: Report, info: SeriesInfo, work: _Denoising, paths: Mapping[Kind, Path]) -> None:
    """Denoise a series, or record why it was refused."""
    name = {"path": str(info.path), "series": short_key(info)}
    try:
        check_complete(info, report.skipped)
        new = not paths["denoised"].exists()
        sample = work.sample(info) if new else None  # before the digest, which takes long for a large file
        making = work.making(info)
        due = work.due(info, making, paths)
        if not due:
            _log.info("%s: already exists, skipping", paths["denoised"])
            report.remark(name, work.records.remarks(paths["denoised"]))
            report.count(paths)
            return
        sample = sample or work.sample(info)
        remarks: dict[str, Any] = {"warnings": work.check(sample)}
        for warning in remarks["warnings"]:
            _log.warning("%s: %s", info.path, warning)
        report.remark(name, remarks)
        work, choice = work.with_choice(sample)
        if choice is not None:
            _log.info("%s: %s", info.path, choice.sentence())
            remarks["strength"] = {**choice.as_dict(), "reason": choice.sentence()}
            report.remark(name, {"strength": remarks["strength"]})
        for kind in due:
            work.write(info, making, kind, paths, remarks)
        report.denoised += 1
    except SeriesError as error:
        report.refuse(name, str(error))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        report.refuse(name, f"{info.path}: the name of an output would be too long; shorten the name of the input")
