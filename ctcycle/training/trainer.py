"""Runs or resumes one training: builds its parts, attaches the handlers, trains, and writes the final files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from ignite.engine import Events

from ctcycle.config.methods import AnySettings
from ctcycle.errors import StoppedError
from ctcycle.report.figures import loss_curves
from ctcycle.runs.fingerprints import write_fingerprint
from ctcycle.runs.folder import RunFolder, flat
from ctcycle.runs.tracking import Tracker
from ctcycle.signals import StopNow, StopRequest
from ctcycle.training.attaching import Handlers, attach
from ctcycle.training.building import Parts, build
from ctcycle.training.handlers.checkpoints import BestWeights
from ctcycle.training.handlers.progress import Progress
from ctcycle.training.resuming import resume
from ctcycle.training.sampling import stop_workers


@dataclass
class TrainingRun:
    """A training run and its folder.

    Attributes:
        settings: the training's settings.
        folder: the run folder, already opened.
        name: shown in MLflow and on the progress bar.
        resolved: the settings as plain data, for MLflow; derived from ``settings`` by default.
    """

    settings: AnySettings
    folder: RunFolder
    name: str
    resolved: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> dict[str, float]:
        """Train to the end, resuming from the last checkpoint if there is one.

        Returns:
            The scores of the best checkpoint, ``val/...`` and ``epoch``; empty if there are no validation pairs.

        Raises:
            DivergedError: a loss is not finite.
            StoppedError: a signal or the settings stopped the run; a checkpoint has been saved.
            CtcycleError: the data, device, checkpoint or output cannot be used.
        """
        parts, request = build(self.settings), StopRequest()
        params = self.resolved or self.settings.model_dump(mode="json", by_alias=True)
        tracker = Tracker(self.settings.tracking, self.folder.path, self.name, flat(params))
        handlers = attach(parts, self.folder, tracker, request)
        resume(parts, handlers.checkpoints, self.folder)
        progress = Progress(self.name)
        progress.attach(parts.trainer)
        with request.listening(), self._tracked(tracker), progress.shown():
            _train(parts, handlers)
            handlers.losses.flush(parts.trainer)
            self._finish(parts, handlers.best, tracker)
        return handlers.best.scores

    @contextmanager
    def _tracked(self, tracker: Tracker) -> Iterator[None]:
        """Open the MLflow run; close it as finished, killed or failed."""
        tracker.start()
        for path in (self.folder.config, self.folder.manifest):
            tracker.artifact(path)
        status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (StoppedError, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            tracker.finish(status)

    def _finish(self, parts: Parts, best: BestWeights, tracker: Tracker) -> None:
        if not len(parts.pairs):
            best.save()
        losses, picture = self.folder.losses(), self.folder.figures / "losses.png"
        if losses:  # none if the run was shorter than tracking.every
            loss_curves(picture, losses, parts.method.LOSS_GROUPS)
            tracker.artifact(picture, "figures")
        write_fingerprint(self.folder.path, [series.hu for series in parts.low_dose.series.values()])
        saved, keep = best.folder, self.settings.training.keep
        tracker.artifact(saved.best if keep == "best" else saved.last, "model")
        tracker.artifact(self.folder.metrics)


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
    finally:
        stop_workers(parts.loader)
