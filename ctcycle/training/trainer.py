"""Runs or resumes one training: builds its parts, attaches the handlers, trains, and writes the final files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ctcycle.config.methods import AnySettings
from ctcycle.errors import DivergedError, SeriesError
from ctcycle.report.figures import loss_curves
from ctcycle.runs import ranks
from ctcycle.runs.fingerprints import write_fingerprint
from ctcycle.runs.folder import RunFolder, flat
from ctcycle.runs.tracking import Tracker
from ctcycle.runs.watch_record import WatchRecord
from ctcycle.signals import StopNow, StopRequest
from ctcycle.training.attaching import Handlers, attach
from ctcycle.training.building import Parts, build
from ctcycle.training.handlers.checkpoints import BestWeights
from ctcycle.training.handlers.progress import Progress
from ctcycle.training.monitor.description import Description, outcome
from ctcycle.training.monitor.pace import Pace
from ctcycle.training.patches.sampling import lost_worker, stop_workers
from ctcycle.training.resuming import resume


@dataclass
class TrainingRun:
    """A training run and its folder.

    Attributes:
        settings: the training's settings.
        folder: the run folder, already opened.
        name: shown in MLflow and on the progress bar.
        resolved: the settings as plain data, for MLflow; derived from ``settings`` by default.
        parent: folder of the pipeline or sweep that this run is part of, for MLflow.
        observe: attached to the trainer before all that ends an epoch with a stop; a sweep ends trials with it.
    """

    settings: AnySettings
    folder: RunFolder
    name: str
    resolved: Mapping[str, Any] = field(default_factory=dict)
    parent: Path | None = None
    observe: Callable[[Engine], None] | None = None

    def run(self) -> dict[str, float]:
        """Train to the end, resuming from the last checkpoint if there is one.

        Returns:
            The scores of the best checkpoint, ``val/...`` and ``epoch``; empty if there are no validation pairs.

        Raises:
            DivergedError: a loss is not finite, or the denoiser is beyond a limit of `training.watch` at the end.
            SeriesError: a loader worker was killed, as by lack of memory.
            StoppedError: a signal or the settings stopped the run; a checkpoint has been saved.
            CtcycleError: the data, device, checkpoint or output cannot be used.
        """
        parts, request = build(self.settings), StopRequest(ranks.rank() if ranks.world() > 1 else None)
        params = self.resolved or self.settings.model_dump(mode="json", by_alias=True)
        tracking = self.settings.tracking.model_copy(update={} if ranks.is_first() else {"enabled": False})
        tracker = Tracker(tracking, self.folder.path, self._shown_name(), flat(params), self.parent)
        handlers = attach(parts, self.folder, tracker, request)
        resume(parts, handlers.checkpoints, self.folder)
        chosen = {"chosen.layout": parts.layout.name, "chosen.precision": parts.precision.name}
        tracker.params = {**tracker.params, **chosen}
        progress = Progress(self.name)
        progress.attach(parts.trainer)
        Pace(parts).attach(parts.trainer)
        if self.observe is not None:
            self.observe(parts.trainer)
        description = Description(parts, self.folder, tracker)
        with request.listening(), self._tracked(tracker, description), progress.shown():
            _train(parts, handlers)
            handlers.losses.flush(parts.trainer)
            ranks.only_first(self._finish, parts, handlers.best, tracker)
            description.log(outcome(handlers.best.scores, self.settings.validation.protocol))
            self._judge(handlers, tracker)
        return handlers.best.scores

    def _shown_name(self) -> str:
        """Return the name of the MLflow run: as the config says, or its own name, with the folder's if that differs."""
        folder = self.folder.path.resolve().name
        own = self.name if folder in self.name else f"{self.name} ({folder})"
        return self.settings.tracking.name or own

    def _judge(self, handlers: Handlers, tracker: Tracker) -> None:
        """Record what the last measurement found, if there was one, and fail if it was beyond a limit."""
        watch, best = handlers.watch, handlers.best
        if not watch.active:
            return
        failed = bool(watch.faults) and watch.limits.fail
        record = WatchRecord(failed, list(watch.faults.values()), watch.found, best.scores)
        ranks.only_first(self._record, record, tracker)
        if failed:
            epoch = f"epoch {best.scores['epoch']:g}" if best.scores else "none"
            raise DivergedError(
                f"{self.folder.path}: training ended in a failed state: {record.faults[0]} "
                f"(best checkpoint: {epoch}, {best.folder.best}; training.watch.fail=false accepts it)"
            )

    def _record(self, record: WatchRecord, tracker: Tracker) -> None:
        record.write(self.folder.path)
        tracker.artifact(self.folder.watch)
        tracker.tag("watch", record.sentence)

    @contextmanager
    def _tracked(self, tracker: Tracker, description: Description) -> Iterator[None]:
        """Open the MLflow run; close it as finished, killed or failed."""
        with tracker.open():
            description.log()
            for path in (self.folder.config, self.folder.manifest):
                tracker.artifact(path)
            yield

    def _finish(self, parts: Parts, best: BestWeights, tracker: Tracker) -> None:
        if not best.scores:  # neither validated nor measured
            best.save()
        losses, picture = self.folder.losses(), self.folder.figures / "losses.png"
        if losses:  # none if the run was shorter than tracking.every
            loss_curves(picture, losses, parts.method.LOSS_GROUPS)
            tracker.artifact(picture, "figures")
        write_fingerprint(self.folder.path, [series.hu for series in parts.low_dose.series.values()])
        saved, keep = best.folder, self.settings.training.keep
        tracker.artifact(saved.best if keep == "best" else saved.last, "model")
        tracker.artifact(self.folder.metrics)
        tracker.artifact(self.folder.path / "fingerprint.json")


def _train(parts: Parts, handlers: Handlers) -> None:
    """Finish a validation that a signal interrupted, then run the engine to the end."""
    trainer, epochs, length = parts.trainer, parts.settings.training.epochs, len(parts.loader)
    try:
        if handlers.validation.due:
            trainer.fire_event(Events.EPOCH_COMPLETED)
        if trainer.state.iteration < epochs * length:
            trainer.run(parts.loader, max_epochs=epochs, epoch_length=length)
    except StopNow:  # during validation
        handlers.stop.now(trainer)
        raise
    except RuntimeError as error:
        if (worker := lost_worker(error)) is None:
            raise
        raise SeriesError(worker) from error
    finally:
        stop_workers(parts.loader)
