"""Attaches the handlers of a training run to its trainer engine, all in one place because their order matters."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from ctcycle.config.methods import AdversarialSettings
from ctcycle.runs import ranks
from ctcycle.runs.checkpoints import CheckpointFolder
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.tracking import Tracker
from ctcycle.signals import StopRequest
from ctcycle.training.building import Parts
from ctcycle.training.handlers.checkpoints import BestWeights, Checkpoints, Stateful, TrainingState
from ctcycle.training.handlers.collapse_watch import CollapseWatch
from ctcycle.training.handlers.finite_check import FiniteCheck
from ctcycle.training.handlers.loss_log import LossLog
from ctcycle.training.handlers.machine import MachineUse
from ctcycle.training.handlers.samples import Samples, WatchSamples
from ctcycle.training.handlers.schedule import ScheduleHandler, current_rates
from ctcycle.training.handlers.stop import Stop
from ctcycle.training.handlers.tracking import TrackingHandler
from ctcycle.training.handlers.validation import ValidationHandler
from ctcycle.training.method import learning_rates
from ctcycle.training.monitor.watch import WatchHandler, make_watch
from ctcycle.training.patches.loading import DataRecord
from ctcycle.training.resuming import InitialRecord

_WRITERS = (TrackingHandler, MachineUse, Samples, WatchSamples, BestWeights, Checkpoints)
"""Handlers that write; only rank 0 has them."""

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
    watch: WatchHandler
    stop: Stop


def attach(parts: Parts, folder: RunFolder, tracker: Tracker, request: StopRequest) -> Handlers:
    """Attach all handlers in the order they must run: prepare, check, average, log, validate, watch, save, stop.

    Args:
        parts: the training, as `ctcycle.training.building.build` returns it.
        folder: the run folder.
        tracker: the MLflow run.
        request: records stop signals.
    """
    settings, trainer, method = parts.settings, parts.trainer, parts.method
    losses = LossLog(settings.tracking.every)
    bounded = not (isinstance(settings, AdversarialSettings) and settings.loss.form == "wgan_gp")
    collapse = CollapseWatch(_STALL_ITERATIONS, _log.warning, bounded=bounded)
    interruptible = request.giving_up if ranks.world() == 1 else nullcontext  # ranks share a validation
    validation = ValidationHandler(parts.evaluator, parts.pairs, settings.validation.every, interruptible)
    saved = CheckpointFolder(folder.checkpoints)
    best = BestWeights(saved, parts.average.result.state_dict, paired=len(parts.pairs) > 0)
    weights = type(settings.loss).model_fields
    watch = make_watch(parts.low_dose, parts.full_dose, settings.training.watch, parts.denoiser, weights)
    others: dict[str, Stateful] = {"ema": parts.average, "losses": losses, "collapse": collapse, "best": best}
    others["data"], others["initial"] = DataRecord(parts.loader.dataset), InitialRecord(settings.initial)
    others |= {"precision": parts.precision, "layout": parts.layout, "validation_due": validation, "watch": watch}
    state = TrainingState(trainer, method, others)
    watched = [] if len(parts.pairs) else [item.hu for item in watch.slices[:2]]
    unpaired = WatchSamples(
        watched, parts.denoiser, folder.figures, lambda picture, step: tracker.image(picture, "watch", step)
    )
    checkpoints = Checkpoints(saved, state, settings.training.checkpoint_minutes, folder.check_exists)
    stop = Stop(request, checkpoints, folder.path, settings.training.stop_after_epoch)
    rates, window = learning_rates(settings), settings.data.hu_window
    parts.sampler.attach(trainer)
    for handler in (
        ScheduleHandler(method.updates, settings.schedule, rates, settings.seed),
        FiniteCheck(1 if parts.device.type == "cpu" else settings.tracking.every),
        parts.average,
        losses,
        TrackingHandler(folder, tracker, window.hu_per_unit, method.L1_TERMS, partial(current_rates, method.updates)),
        MachineUse(tracker, parts.device),
        collapse,
        validation,
        Samples(parts.pairs, folder.figures, lambda picture, step: tracker.image(picture, "validation", step)),
        watch,
        unpaired,
        best,
        checkpoints,
        stop,
    ):
        if ranks.is_first() or not isinstance(handler, _WRITERS):
            handler.attach(trainer)
    return Handlers(losses, validation, checkpoints, best, watch, stop)
