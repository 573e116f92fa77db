"""Builds the parts of a training run from its settings: data, networks, trainer and evaluator."""

import copy
import logging
from dataclasses import dataclass, field

import numpy as np
import torch
from ignite.engine import Engine
from torch import nn
from torch.utils.data import DataLoader

from ctcycle.config.methods import AnySettings, CalibratedPairsSettings, PhysicsCycleGANSettings, SupervisedSettings
from ctcycle.data.slices import StoredSlices
from ctcycle.errors import ConfigError
from ctcycle.inference.denoiser import Denoiser, resolve_device
from ctcycle.runs import ranks
from ctcycle.training.adversarial.gain import measure_gain, needs_gain
from ctcycle.training.handlers.average import WeightAverage
from ctcycle.training.method import Method, Patches, build_method
from ctcycle.training.monitor.validation import ValidationPairs, make_evaluator
from ctcycle.training.patches.growth import batch_sizes
from ctcycle.training.patches.loading import load_training_data
from ctcycle.training.patches.sampling import EpochSampler, PatchPair, make_loader
from ctcycle.training.simulated_noise.calibration import calibrate
from ctcycle.training.simulated_noise.noise_filter import NoiseFilter
from ctcycle.training.speed.accumulation import check_parts
from ctcycle.training.speed.layout import Layout
from ctcycle.training.speed.networks import prepare_generators
from ctcycle.training.speed.precision import Precision
from ctcycle.training.updates import Losses

_log = logging.getLogger(__name__)
_TOO_SMALL = ("Padding size should be less than", "Kernel size can't be greater than")
"""In messages of torch about images that are smaller than a network can take."""


@dataclass
class Parts:
    """The parts of a training run, before any handler is attached.

    Attributes:
        settings: the training's settings.
        device: device of the networks.
        method: networks and update function.
        precision: precision of forward passes.
        average: running mean of the denoiser's weights.
        sampler: order of the samples in an epoch.
        loader: batches of patches.
        low_dose: the low-dose training slices.
        full_dose: the full-dose training slices.
        pairs: validation slices; empty if there are none.
        layout: memory format of networks and batches.
        trainer: the engine that trains; its output is the loss terms.
        evaluator: the engine that validates the denoiser.
    """

    settings: AnySettings
    device: torch.device
    method: Method
    precision: Precision
    average: WeightAverage
    sampler: EpochSampler
    loader: DataLoader[PatchPair]
    low_dose: StoredSlices
    full_dose: StoredSlices
    pairs: ValidationPairs
    layout: Layout
    trainer: Engine = field(init=False)
    evaluator: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.trainer = Engine(self.update)
        self.evaluator = make_evaluator(self.denoiser, self.settings.validation.protocol)
        for engine in (self.trainer, self.evaluator):
            engine.logger.setLevel(logging.CRITICAL)  # Ignite logs exceptions that it also raises

    def update(self, engine: Engine, batch: PatchPair) -> Losses:
        """Move a batch to the device and update the networks on it; return the loss terms."""
        moved = {
            name: images.to(self.device, non_blocking=True, memory_format=self.layout.format)
            for name, images in batch.items()
        }
        try:
            return ranks.average_terms(self.method(engine, moved))
        except RuntimeError as error:
            if not any(text in str(error) for text in _TOO_SMALL):
                raise
            side = " x ".join(map(str, next(iter(batch.values())).shape[-2:]))
            raise ConfigError(
                f"data.patch_size: patches of {side} px are too small for the networks; set larger patches, or fewer "
                "downsamplings or layers"
            ) from error

    def denoiser(self) -> Denoiser:
        """Return a denoiser with a copy of the current averaged weights."""
        return Denoiser(copy.deepcopy(self.average.result), self.settings.data.hu_window, self.device)


def build(settings: AnySettings) -> Parts:
    """Return the parts of a training run.

    Raises:
        BundleError, ConfigError: ``initial`` cannot be used.
        ManifestError, SeriesError: data are missing or invalid.
    """
    device = resolve_device(settings.device)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    training, sizes = settings.training, batch_sizes(settings)
    every_size = sorted({sizes(epoch) for epoch in range(training.epochs)})
    ranks.check_batches(every_size)
    patches, pairs = ranks.first_before_others(lambda: load_training_data(settings))
    iterations = training.iterations_per_epoch or max(1, len(patches.low) // training.batch_size)
    sampler = EpochSampler(iterations, sizes)
    loader = make_loader(patches, sampler, settings.data.workers)
    method = build_method(settings, device, _gain(settings, patches))
    ranks.check_networks(method.networks)
    check_parts(method.networks, training.accumulate, every_size)
    _start_noise_filter(settings, method, patches)
    average = WeightAverage(method.networks["low2full"], training.ema_decay)
    method.updates.parts = training.accumulate
    prepare_generators(method.networks, training)
    if (count := ranks.world()) > 1:
        _log.info(
            "training on %d ranks, %d of %d images each", count, training.batch_size // count, training.batch_size
        )
    precision = Precision(training, method.updates, device)
    layout = Layout(training, nn.ModuleList([method.networks, average.result]), method.networks["low2full"])
    return Parts(
        settings,
        device,
        method,
        precision,
        average,
        sampler,
        loader,
        patches.low,  # type: ignore[arg-type]
        patches.full,  # type: ignore[arg-type]
        pairs,
        layout,
    )


def _start_noise_filter(settings: AnySettings, method: Method, patches: Patches) -> None:
    """Set the start of the noise filter; a resumed run overwrites it with that of its checkpoint."""
    noise = getattr(patches, "noise", None)
    if noise is None or not isinstance(settings, CalibratedPairsSettings | PhysicsCycleGANSettings):
        return
    physics, kernel = settings.simulated_noise, None
    if physics.calibrate:
        kernel = calibrate(patches.low, patches.full, noise.draws[0].__getitem__, physics.filter_px)
        _log.info(
            "simulated noise: calibrated, kernel sum %.3g, root of the sum of squares %.3g",
            kernel.sum(),
            np.sqrt((kernel**2).sum()),
        )
    for net in method.networks.modules():
        if isinstance(net, NoiseFilter):
            net.start_from(kernel, physics.level)


def _gain(settings: AnySettings, patches: Patches) -> float:
    if isinstance(settings, SupervisedSettings | CalibratedPairsSettings) or not needs_gain(settings.discriminator):
        return 1.0
    gain = measure_gain(patches.low, settings.discriminator, settings.data.hu_window.hu_per_unit)
    _log.info("discriminator.gain=auto: measured %.3g on the low-dose training slices", gain)
    return gain
