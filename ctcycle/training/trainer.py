"""One training run: its parts built from the config, attached to an Ignite engine; run, resumed, finished."""

import copy
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from ignite.engine import Engine, Events
from ignite.handlers import Timer
from torch import nn

from ctcycle.config.schema import AnyTrain
from ctcycle.data.manifest import read_manifest, write_manifest
from ctcycle.errors import BundleError, ConfigError, StoppedError
from ctcycle.inference.denoiser import Denoiser, resolve_device
from ctcycle.report.figures import loss_curves
from ctcycle.runs.checkpoints import CheckpointFolder, denoiser_weights
from ctcycle.runs.folder import RunFolder, flat
from ctcycle.runs.tracking import Tracker
from ctcycle.signals import StopNow, StopRequest
from ctcycle.training.data import Patches, load_training_data
from ctcycle.training.handlers import (
    CollapseWatch,
    LossLog,
    attach_average,
    attach_finite_check,
    averaged,
    progress_bar,
)
from ctcycle.training.methods import build_method, learning_rates, measure_gain, memory_format
from ctcycle.training.sampling import EpochSampler, PatchPair, make_loader, stop_workers
from ctcycle.training.schedules import attach_schedule

_log = logging.getLogger(__name__)
_L1_TERMS = ("gen_cycle", "gen_identity", "gen_noise_swap", "gen_supervised")
_STANDSTILL = 500
"""Iterations after which adversarial training that does not move is told."""


@dataclass
class TrainingRun:
    """A run from its folder to its best checkpoint.

    Attributes:
        config: of the run.
        folder: where everything goes.
        name: shown in MLflow and on the progress bar.
        resolved: the config as plain data.
        best: value and epoch of the best validation so far; empty before.
    """

    config: AnyTrain
    folder: RunFolder
    name: str
    resolved: Mapping[str, Any]
    best: dict[str, float] = field(default_factory=dict)

    @property
    def _manifest(self) -> Path:
        """The manifest as it was when the run began."""
        return self.folder.path / "manifest.csv"

    def run(self) -> dict[str, float]:
        """Trains from the last checkpoint, or from the start, to the end of the config.

        Returns:
            The scores of the best checkpoint, ``val/...`` and ``epoch``; empty where there is nothing to validate on.

        Raises:
            DivergedError: a loss is not finite.
            StoppedError: a signal or the config stopped it; the checkpoint is written.
            CtcycleError: data, device, checkpoint or output are not usable.
        """
        config = self.config
        device = resolve_device(config.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        patches, self.validator = load_training_data(config)
        self._build(patches, device)
        self._resume()
        self.tracker = Tracker(config.tracking, self.folder.path, self.name, flat(self.resolved))
        with StopRequest().listening() as self._request, self._tracked(), progress_bar(self.trainer, self.name):
            self._train()
            self.losses.flush(self.trainer.state.iteration)
            self._finish()
        return self.best

    def _train(self) -> None:
        epochs, length = self.config.training.epochs, len(self.loader)
        self._saved_at = time.monotonic()
        if self._validation_due:
            self._validate(self.trainer)
            self._end_epoch(self.trainer)
        try:
            if self.trainer.state.iteration < epochs * length:
                self.trainer.run(self.loader, max_epochs=epochs, epoch_length=length)
        finally:
            stop_workers(self.loader)

    def _build(self, patches: Patches, device: torch.device) -> None:
        config, training = self.config, self.config.training
        iterations = training.iterations_per_epoch or max(1, len(patches.low) // training.batch_size)
        self.sampler = EpochSampler(iterations * training.batch_size)
        self.loader = make_loader(patches, self.sampler, training.batch_size, config.data.workers)
        self.method = build_method(config, device, self._gain(patches))
        net = self.method.networks["low2full"]
        self.average = averaged(net, training.ema_decay) if training.ema_decay else None
        self.losses = LossLog(config.tracking.every, self._write_losses)
        self.collapse = CollapseWatch(_STANDSTILL, _log.warning)
        self.checkpoints = CheckpointFolder(self.folder.checkpoints)
        self.device = device
        self.trainer = Engine(self._step)
        self._attach(net)

    def _gain(self, patches: Patches) -> float:
        spec = getattr(self.config, "discriminator", None)
        if spec is None or spec.gain != "auto" or spec.view != "highpass":
            return 1.0
        gain = measure_gain(patches.low, spec, self.config.data.hu_window.hu_per_unit)  # type: ignore[arg-type]
        _log.info("discriminator.gain auto: %.3g, measured on the low-dose training slices", gain)
        return gain

    def _step(self, engine: Engine, batch: PatchPair) -> dict[str, torch.Tensor]:
        layout = memory_format(self.config)
        moved = {
            name: images.to(self.device, non_blocking=True, memory_format=layout) for name, images in batch.items()
        }
        return self.method.step(engine, moved)

    def _attach(self, net: nn.Module) -> None:
        """Handlers in the order in which they must act: seeds, check, average, log; then validate, save, stop."""
        trainer, config = self.trainer, self.config
        trainer.logger.setLevel(logging.CRITICAL)  # what goes wrong is raised, once
        trainer.add_event_handler(Events.EPOCH_STARTED, self._place_sampler)
        attach_schedule(trainer, self.method.updates, config.schedule, learning_rates(config), config.seed)
        attach_finite_check(trainer)
        if self.average is not None:
            attach_average(trainer, self.average, net)
        self.losses.attach(trainer)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._save_inside_epoch)
        self.timer = Timer(average=True)
        self.timer.attach(trainer, start=Events.EPOCH_STARTED, step=Events.ITERATION_COMPLETED)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._log_speed)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._validate)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)

    def _place_sampler(self, engine: Engine) -> None:
        done = engine.state.iteration % len(self.loader)
        self.sampler.epoch = engine.state.epoch - 1
        self.sampler.skip = done * self.config.training.batch_size

    def _write_losses(self, iteration: int, means: Mapping[str, float]) -> None:
        unit = self.config.data.hu_window.hu_per_unit
        values = {f"train/{name}": value for name, value in means.items()}
        values |= {f"train/{name}_hu": value * unit for name, value in means.items() if name.startswith(_L1_TERMS)}
        self.folder.append_metrics({"iteration": iteration, **values})
        self.tracker.metrics(values, iteration)
        self.collapse(iteration, means)

    def _log_speed(self, engine: Engine) -> None:
        """Seconds an iteration took in this epoch, to MLflow alone: they are no part of the result."""
        self.tracker.metrics({"time/seconds_per_iteration": self.timer.value()}, engine.state.iteration)

    def denoiser(self) -> Denoiser:
        """The generator as it would be deployed now."""
        net = copy.deepcopy(self.method.networks["low2full"] if self.average is None else self.average.module)
        return Denoiser(net, self.config.data.hu_window, self.device)

    def _validate(self, engine: Engine) -> None:
        state = engine.state
        due = state.epoch % self.config.validation.every == 0 or state.epoch == self.config.training.epochs
        if self.validator is None or not due:
            return
        denoiser = self.denoiser()
        try:
            with self._request.giving_up():
                scores = self.validator(denoiser)
        except StopNow:
            self._save(validation_due=True)
            self._stop_as_asked()
        self.folder.append_metrics({"iteration": state.iteration, "epoch": state.epoch, **scores})
        self.tracker.metrics(scores, state.iteration)
        picture = self.folder.figures / f"validation_{state.epoch:04d}.png"
        self.validator.draw(denoiser, picture)
        self.tracker.artifact(picture, "samples")
        if not self.best or scores["val/psnr"] > self.best["val/psnr"]:
            self.best = {"epoch": state.epoch, **scores}
            self.checkpoints.save_best(self._weights(), self.best)

    def _weights(self) -> Mapping[str, torch.Tensor]:
        return denoiser_weights(self._state())

    def _state(self) -> dict[str, Any]:
        average = {} if self.average is None else self.average.state_dict()
        logs = {"losses": self.losses.state_dict(), "collapse": self.collapse.state_dict(), "best": self.best}
        return {"iteration": self.trainer.state.iteration, **self.method.state_dict(), "ema": average, **logs}

    def _save(self, *, validation_due: bool = False) -> None:
        """Writes the checkpoint to go on from; ``validation_due`` where its epoch still lacks the validation."""
        self.folder.check_there()
        self.checkpoints.save_last({**self._state(), "validation_due": validation_due})
        self._saved_at = time.monotonic()

    def _save_inside_epoch(self, engine: Engine) -> None:
        if engine.state.iteration % len(self.loader) == 0:
            return  # the epoch's end saves, after its validation
        due = time.monotonic() - self._saved_at >= 60 * self.config.training.checkpoint_minutes
        asked = self._request.code  # looked at once: between two looks a signal may come
        if due or asked:
            self._save()
        if asked:
            self._stop_as_asked()

    def _end_epoch(self, engine: Engine) -> None:
        self._save()
        self._stop_as_asked()
        training, epoch = self.config.training, engine.state.epoch
        if epoch == training.stop_after_epoch and epoch < training.epochs:
            self._stop(0, "by training.stop_after_epoch")

    def _stop_as_asked(self) -> None:
        if self._request.code:
            self._stop(self._request.code, "by a signal")

    def _stop(self, code: int, reason: str) -> None:
        iteration = self.trainer.state.iteration
        raise StoppedError(
            f"{self.folder.path}: stopped {reason} after iteration {iteration}; the same command goes on", code
        )

    def _resume(self) -> None:
        state = self.checkpoints.load_last()
        self._validation_due = state is not None and bool(state.get("validation_due"))
        if state is None:
            self.folder.forget_metrics_after(0)
            self._keep_manifest()
            return
        self._check_manifest()
        try:
            self._load(state)
        except (RuntimeError, ValueError, KeyError) as error:
            raise BundleError(
                f"{self.checkpoints.last}: does not fit its config in this version of ctcycle; "
                "go on with the version that wrote it, or start anew with overwrite=true"
            ) from error
        length = len(self.loader)
        done = {"iteration": state["iteration"], "epoch_length": length, "max_epochs": self.config.training.epochs}
        self.trainer.load_state_dict(done)
        self.folder.forget_metrics_after(state["iteration"])
        _log.info("%s: goes on after iteration %d", self.folder.path, state["iteration"])

    def _load(self, state: Mapping[str, Any]) -> None:
        self.method.load_state_dict(state)
        if self.average is not None:
            self.average.load_state_dict(state["ema"])
        self.losses.load_state_dict(state["losses"])
        self.best = state["best"]
        if "collapse" in state:  # which the first checkpoints lack
            self.collapse.load_state_dict(state["collapse"])

    def _keep_manifest(self) -> None:
        write_manifest(self._manifest, read_manifest(self.config.data.manifest))

    def _check_manifest(self) -> None:
        """Raises ConfigError where the manifest is not the one that the run began with."""
        before, now = (
            [replace(row, path="") for row in read_manifest(path)]
            for path in (self._manifest, self.config.data.manifest)
        )
        if before != now:
            raise ConfigError(
                f"{self.config.data.manifest}: has changed since the run in {self.folder.path} began; "
                "choose another `out`, or overwrite=true"
            )

    @contextmanager
    def _tracked(self) -> Iterator[None]:
        """Opens the MLflow run; closes it as finished, killed or failed."""
        self.tracker.start()
        for path in (self.folder.config, self._manifest):
            self.tracker.artifact(path)
        status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (StoppedError, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            self.tracker.finish(status)

    def _finish(self) -> None:
        if self.validator is None:
            self.checkpoints.save_best(self._weights(), {})
        losses, picture = self.folder.losses(), self.folder.figures / "losses.png"
        if losses:  # there are none where the run was shorter than tracking.every
            loss_curves(picture, losses)
            self.tracker.artifact(picture, "figures")
        self.tracker.artifact(self.checkpoints.best, "model")
        self.tracker.artifact(self.folder.metrics)
