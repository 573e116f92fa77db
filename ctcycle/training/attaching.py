"""Attaches the handlers of a training run to its trainer engine, all in one place because their order matters."""

import logging
from dataclasses import dataclass

from ctcycle.runs.checkpoints import CheckpointFolder
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.tracking import Tracker
from ctcycle.signals import StopRequest
from ctcycle.training.building import Parts
from ctcycle.training.handlers.checkpoints import BestWeights, Checkpoints, Stateful, TrainingState
from ctcycle.training.handlers.collapse_watch import CollapseWatch
from ctcycle.training.handlers.finite_check import FiniteCheck
from ctcycle.training.handlers.loss_log import LossLog
from ctcycle.training.handlers.samples import Samples
from ctcycle.training.handlers.schedule import ScheduleHandler
from ctcycle.training.handlers.stop import Stop
from ctcycle.training.handlers.tracking import TrackingHandler
from ctcycle.training.handlers.validation import ValidationHandler
from ctcycle.training.method import learning_rates

_log = logging.getLogger(__name__)
_STALL_ITERATIONS = 500
"""Iterations without progress after which adversarial training is reported as stalled."""


@dataclass(frozen=True)
class Handlers:
    """The handlers that `TrainingRun` also calls directly."""

    losses: LossLog
    validation: ValidationHandler
    checkpoints: Checkpoints
    best: BestWeights
    stop: Stop


def attach(parts: Parts, folder: RunFolder, tracker: Tracker, request: StopRequest) -> Handlers:
    """Attach all handlers in the order they must run: prepare, check, average, log, validate, save, stop.

    Args:
        parts: the training, as `ctcycle.training.building.build` returns it.
        folder: the run folder.
        tracker: the MLflow run.
        request: records stop signals.
    """
    settings, trainer, method = parts.settings, parts.trainer, parts.method
    losses, collapse = LossLog(settings.tracking.every), CollapseWatch(_STALL_ITERATIONS, _log.warning)
    validation = ValidationHandler(parts.evaluator, parts.pairs, settings.validation.every, request.giving_up)
    saved = CheckpointFolder(folder.checkpoints)
    best = BestWeights(saved, parts.average.result.state_dict)
    others: dict[str, Stateful] = {"ema": parts.average, "losses": losses, "collapse": collapse, "best": best}
    state = TrainingState(trainer, method, others | {"validation_due": validation})
    checkpoints = Checkpoints(saved, state, settings.training.checkpoint_minutes, folder.check_exists)
    stop = Stop(request, checkpoints, folder.path, settings.training.stop_after_epoch)
    rates, window = learning_rates(settings), settings.data.hu_window
    parts.sampler.attach(trainer, settings.training.batch_size)
    for handler in (
        ScheduleHandler(method.updates, settings.schedule, rates, settings.seed),
        FiniteCheck(),
        parts.average,
        losses,
        TrackingHandler(folder, tracker, window.hu_per_unit, method.L1_TERMS),
        collapse,
        validation,
        Samples(parts.pairs, folder.figures, lambda picture: tracker.artifact(picture, "samples")),
        best,
        checkpoints,
        stop,
    ):
        handler.attach(trainer)
    return Handlers(losses, validation, checkpoints, best, stop)
