"""What is done with one job: its files are sorted, its series denoised by rule, and the objects to send are listed."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom import dcmread

from ctcycle import __version__
from ctcycle.config.tasks.node import RuleSettings, Serve
from ctcycle.ct.dicom import Derivation
from ctcycle.ct.dicom.silence import quiet
from ctcycle.ct.series import SeriesInfo, WriteOptions, check_hu
from ctcycle.ct.series_io import iterate_hu, sample_slices, write_corrected
from ctcycle.errors import SeriesError
from ctcycle.inference.auto_strength import choose_strength
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.fingerprint import series_warnings
from ctcycle.node.counts import Counts
from ctcycle.node.queue.deliveries import Delivery
from ctcycle.node.queue.jobs import Job, Jobs, Outcome
from ctcycle.node.spool import Spool
from ctcycle.node.working.sorting import Other, body_part, sort_files, without_path
from ctcycle.runs.models import Model

_log = logging.getLogger(__name__)

Sending = list[tuple[str, Delivery]]


class Interrupted(Exception):  # noqa: N818 (no failure)
    """The node is stopping; the job is repeated when it starts again."""


@dataclass(frozen=True)
class Denoising:
    """Works on jobs.

    Attributes:
        config: rules and destinations.
        spool: the objects.
        jobs: for strengths that were chosen.
        counts: counters.
        load: returns the model of a rule.
        stopping: whether the node is stopping.
    """

    config: Serve
    spool: Spool
    jobs: Jobs
    counts: Counts
    load: Callable[[RuleSettings], Model]
    stopping: Callable[[], bool]

    def work(self, job: Job) -> Outcome:
        """Denoise a job, and return what is to be sent where.

        Raises:
            Interrupted: the node is stopping.
            OutputError: the disk is full.
            BundleError: a model cannot be loaded.
        """
        started = time.monotonic()
        folder = self.spool.job(job.number)
        self._clear(folder / "denoised")
        found = sort_files(folder / "source")
        outcome, others = Outcome(), list(found.others)
        for info in found.series:
            rule = self._rule(info, job.caller)
            if rule is None:
                others.append(Other("no_rule", info.files, "no rule matches this series; add one to rules"))
                continue
            try:
                outcome = self._apply(rule, info, job, outcome)
            except SeriesError as error:
                others.append(Other("refused", info.files, without_path(str(error), info.path)))
        for other in others:
            outcome = self._treat(other, outcome)
        seconds = time.monotonic() - started
        if outcome.model:
            self.counts.series_denoised(seconds)
        return replace(outcome, seconds=seconds)

    def _clear(self, folder: Path) -> None:
        """Remove what an interrupted attempt has written."""
        self.spool.grown(-sum(file.stat().st_size for file in folder.rglob("*.dcm")))
        shutil.rmtree(folder, ignore_errors=True)

    def _rule(self, info: SeriesInfo, caller: str) -> RuleSettings | None:
        part = body_part(info)
        return next((rule for rule in self.config.rules if rule.matches(info.kernel, part, caller)), None)

    def _apply(self, rule: RuleSettings, info: SeriesInfo, job: Job, outcome: Outcome) -> Outcome:
        """Apply the rule of a series; return the outcome with what it adds."""
        names = tuple(self.config.destinations) if rule.destinations is None else rule.destinations
        source = self._deliveries(info.files, names)
        if rule.action == "leave":
            return replace(outcome, reason=_joined(outcome.reason, "left by a rule"))
        if rule.action == "pass_on":
            return replace(outcome, deliveries=[*outcome.deliveries, *source])
        made, warnings, denoiser, model = self._denoise(rule, info, job)
        sending = [*self._deliveries(made, names), *(source if rule.send_source else ())]
        reason = _joined(outcome.reason, *warnings)
        return Outcome([*outcome.deliveries, *sending], reason, model.name, denoiser.strength)

    def _treat(self, other: Other, outcome: Outcome) -> Outcome:
        """Leave or pass on what is not denoised."""
        action = getattr(self.config.others, other.kind)
        reason = _joined(
            outcome.reason, f"{len(other.files)} {'file' if len(other.files) == 1 else 'files'}: {other.reason}"
        )
        if action == "leave":
            return replace(outcome, reason=reason)
        sending = self._deliveries(other.files, tuple(self.config.destinations))
        return replace(outcome, deliveries=[*outcome.deliveries, *sending], reason=reason)

    def _denoise(self, rule: RuleSettings, info: SeriesInfo, job: Job) -> tuple[list[Path], list[str], Denoiser, Model]:
        """Write the denoised series, and return its files, warnings, denoiser and model.

        Raises:
            SeriesError: it is refused.
        """
        model = self.load(rule)
        auto = rule.strength == "auto"
        given = 1.0 if rule.strength == "auto" else rule.strength
        denoiser = model.denoiser(strength=given, average_flips=rule.average_flips)
        sample = sample_slices(info)
        check_hu(sample)
        warnings = series_warnings(sample, model.fingerprint, strength_is_given=bool(given) and not auto)
        if warnings and rule.strict:
            raise SeriesError(f"{info.path}: {'; '.join(warnings)}; set strict=false to denoise it anyway")
        description = Derivation.description
        if auto:
            strength = self.jobs.strength(job.series, model.digest)
            if strength is None:
                strength = choose_strength(denoiser, sample).strength
                self.jobs.keep_strength(job.series, model.digest, strength)
            denoiser = denoiser.with_strength(strength)
            description += f" Strength {strength:.2f} chosen for the noise of a routine dose."
        derivation = Derivation(
            __version__,
            model.name,
            model.digest,
            description,
            strength=denoiser.strength,
            settings=json.dumps({**denoiser.options(), "keep_private": rule.keep_private}),
            source=job.series,  # not its files, so that late instances join the same denoised series
        )
        out = self.spool.job(job.number) / "denoised"
        corrections = map(denoiser.correction, self._watched(iterate_hu(info)))
        made = write_corrected(info, corrections, out / f"{len(list(out.glob('*'))):02d}", derivation, _options(rule))
        self.spool.grown(sum(file.stat().st_size for file in made))
        return made, [*info.notes, *warnings], denoiser, model

    def _watched(self, slices: Iterable[Any]) -> Iterator[Any]:
        for image in slices:
            if self.stopping():
                raise Interrupted
            yield image
            self.counts.slice_denoised()

    def _deliveries(self, files: Sequence[Path], destinations: Sequence[str]) -> Sending:
        return [(name, one) for one in map(self._delivery, files) for name in destinations]

    def _delivery(self, file: Path) -> Delivery:
        with quiet():
            meta = dcmread(file, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).file_meta
        folder = next(parent for parent in file.parents if parent.parent == self.spool.jobs)
        return Delivery(
            int(folder.name),
            file.relative_to(folder).as_posix(),
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
        )


def _options(rule: RuleSettings) -> WriteOptions:
    return WriteOptions(rule.keep_private)


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))
