"""Says what a training is about to do, how long it will take, and where it is after each epoch."""

import logging
import time

import torch
from ignite.engine import Engine, Events
from tqdm import tqdm

from ctcycle.training.building import Parts
from ctcycle.training.handlers.events import TrainingEvents, register
from ctcycle.training.speed.layout import words

_log = logging.getLogger(__name__)

_WARM_UP, _TIMED = 5, 20
"""Iterations that are not timed since memory is still being allocated, and iterations that are."""

_FEW_ITERATIONS = 1000
_PATIENCE_S = 8 * 3600.0


def opening(parts: Parts) -> str:
    """Return what is about to be trained, on what and from what, in one sentence."""
    settings, training = parts.settings, parts.settings.training
    weights = sum(parameter.numel() for parameter in parts.method.networks.parameters())
    threads = f", threads: {torch.get_num_threads()}" if parts.device.type == "cpu" else ""
    size = settings.data.patch_size
    side = f"{size} x {size}" if isinstance(size, int) else f"{size[0]} x {size[1]}"
    return (
        f"{settings.method} on {parts.device}{threads}, {parts.precision.name}, {words(parts.layout.name)}; "
        f"{weights / 1e6:.2f} million weights; {training.epochs * len(parts.loader)} iterations with batches of "
        f"{training.batch_size} patches of {side} px, from {len(parts.low_dose)} low-dose and "
        f"{len(parts.full_dose)} full-dose slices"
    )


def few_iterations(parts: Parts) -> str | None:
    """Return a warning if epochs are so short that the number of epochs misleads; None if it does not."""
    training, length = parts.settings.training, len(parts.loader)
    if training.iterations_per_epoch is not None or training.epochs * length >= _FEW_ITERATIONS:
        return None
    return (
        f"{training.epochs} epochs of {length} iterations, one for each batch of slices, are only "
        f"{training.epochs * length} iterations; set training.iterations_per_epoch, for example to "
        f"{max(1, _FEW_ITERATIONS // training.epochs)} or more"
    )


class Pace:
    """Logs the opening, the time needed once it is known, and a line after each epoch.

    Args:
        parts: the training.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._first = 0
        self._since: float | None = None
        self._found: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Follow ``engine``; attach after validation and watch, whose scores the line of an epoch gives."""
        register(engine)
        for event in (TrainingEvents.VALIDATED, TrainingEvents.MEASURED):
            engine.add_event_handler(event, self._score)
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._time)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)

    def _open(self, engine: Engine) -> None:
        self._first, self._since = engine.state.iteration, None
        _log.info("%s", opening(self.parts))
        if warning := few_iterations(self.parts):
            _log.warning("%s", warning)

    def _time(self, engine: Engine) -> None:
        done = engine.state.iteration - self._first
        if done == _WARM_UP:
            self._since = time.monotonic()
        if done == _WARM_UP + _TIMED and (pace := self._pace(engine)):
            seconds = pace * _remaining(engine)
            _log.info("%.2f s an iteration; about %s left%s", pace, _text(seconds), self._advice(seconds))

    def _score(self, engine: Engine) -> None:
        self._found |= engine.state.scores  # type: ignore[attr-defined]

    def _epoch(self, engine: Engine) -> None:
        state, seconds, found = engine.state, self._pace(engine) * _remaining(engine), self._found
        score = f", {found['val/psnr']:.2f} dB PSNR on validation slices" if "val/psnr" in found else ""
        removed = round(100 * found.get("watch/removed", 0.0))
        noise = f", {removed} % of the excess noise removed" if "watch/removed" in found else ""
        left = f"; about {_text(seconds)} left" if seconds else ""
        _log.info("epoch %d of %d%s%s%s", state.epoch, state.max_epochs, score, noise, left)
        found.clear()

    def _advice(self, seconds: float) -> str:
        if self.parts.device.type != "cpu" or seconds < _PATIENCE_S:
            return ""
        return f" on a CPU; configs/experiments/small_{self.parts.settings.method}.yaml trains in minutes"

    def _pace(self, engine: Engine) -> float:
        """Return the seconds of an iteration, with everything that happened in between; 0 if nothing was timed yet."""
        timed = engine.state.iteration - self._first - _WARM_UP
        return (time.monotonic() - self._since) / timed if self._since is not None and timed > 0 else 0.0


def _remaining(engine: Engine) -> int:
    """Return the number of iterations until the end."""
    state = engine.state
    return (state.max_epochs or 1) * (state.epoch_length or 1) - state.iteration


def _text(seconds: float) -> str:
    return str(tqdm.format_interval(seconds))
