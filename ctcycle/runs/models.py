"""Loading of trained models from run folders and exported bundle folders."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ctcycle.components import build_generator
from ctcycle.config.components import Component
from ctcycle.config.loading import load_config
from ctcycle.ct.hounsfield import MU_AIR, HUWindow, MuScale
from ctcycle.errors import BundleError, ConfigError, printable
from ctcycle.inference.denoiser import Denoiser, resolve_device
from ctcycle.inference.fingerprint import Fingerprint
from ctcycle.inference.inferers import make_inferer
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.bundle_folder import (
    bundle_weights,
    is_bundle,
    load_bundle_generator,
    read_bundle_facts,
    read_bundle_fingerprint,
)
from ctcycle.runs.checkpoints import denoiser_weights, read_checkpoint
from ctcycle.runs.fingerprints import read_run_fingerprint


@dataclass(frozen=True)
class Model:
    """A trained generator with everything needed to denoise.

    Attributes:
        generator: maps (N, 1, H, W) to the same shape, in the network's range.
        window: the HU window used in training.
        mu_water: the attenuation of water in 1/mm used in training.
        device: the device it runs on.
        average_flips: whether it averages over four flips by default.
        fingerprint: the fingerprint of its low-dose training slices; None if it was not measured.
        name: the name of its folder.
        digest: the SHA-256 of its weights file, in hexadecimal.
        mu_air: the attenuation of air in 1/mm used in training.
    """

    generator: nn.Module
    window: HUWindow
    mu_water: float
    device: torch.device
    average_flips: bool
    fingerprint: Fingerprint | None
    name: str
    digest: str
    mu_air: float = MU_AIR

    def denoiser(self, *, strength: float = 1.0, tile: int = 0, average_flips: bool | None = None) -> Denoiser:
        """Return a denoiser that applies the model to slices in HU.

        Args:
            strength: factor of the correction, from 0 to 2.
            tile: see `ctcycle.inference.inferers.make_inferer`.
            average_flips: likewise; None uses the model's default.

        Raises:
            ConfigError: strength or tile is out of range.
        """
        inferer = make_inferer(tile, average_flips=self.average_flips if average_flips is None else average_flips)
        mu = MuScale(self.mu_water, self.mu_air)
        return Denoiser(self.generator, self.window, self.device, inferer=inferer, strength=strength, mu=mu)


def load_model(path: Path, checkpoint: str | None = None, device: str = "auto") -> Model:
    """Load the model of a training run or of a bundle.

    Nothing in a bundle is executed, see `ctcycle.runs.bundle_folder`.

    Args:
        path: a run folder or a bundle folder.
        checkpoint: "best" or "last" for a run, None for the one that its config keeps (``training.keep``); ignored for
            a bundle, which has one set of weights.
        device: see `ctcycle.inference.denoiser.resolve_device`.

    Raises:
        BundleError: the folder is neither a run nor a bundle, or the weights do not fit the config.
        ConfigError: the device is not available.
    """
    return _load_bundle(path, device) if is_bundle(path) else _load_run(path, checkpoint, device)


def load_denoiser(path: Path, checkpoint: str | None = None, device: str = "auto") -> Denoiser:
    """Load a model as `load_model` does, and return its denoiser with the model's defaults."""
    return load_model(path, checkpoint, device).denoiser()


@dataclass(frozen=True)
class RunFacts:
    """The properties of a run's model and data recorded in its config.

    Attributes:
        method: the training method.
        generator: the spec of the generator.
        window: the HU window of its input.
        mu_water: attenuation of water in 1/mm.
        manifest: path of the manifest as given in the config; the run folder holds a copy.
        store: folder of decoded slices; None for the default.
        kernel: the reconstruction kernel it was trained on; None for all.
        mu_air: attenuation of air in 1/mm.
        keep: the checkpoint to use by default, "best" or "last".
    """

    method: str
    generator: GeneratorSpec | Component
    window: HUWindow
    mu_water: float
    manifest: Path
    store: Path | None
    kernel: str | None
    mu_air: float = MU_AIR
    keep: str = "best"


def read_run_facts(run: Path) -> RunFacts:
    """Read the config of a training run.

    Raises:
        BundleError: the folder is not a training run of this version.
    """
    if not (run / "config.yaml").is_file():
        raise BundleError(
            f"{run}: not a run folder (no config.yaml); train first, or choose another run folder or a bundle folder"
        )
    try:
        config = load_config(run / "config.yaml").config
    except ConfigError as error:
        raise BundleError(
            f"{run}: config.yaml is not valid for this version of ctcycle ({str(error).splitlines()[0]}); "
            "choose another run"
        ) from error
    if config.task != "train":
        raise BundleError(f"{run}: is a run of task '{config.task}'; choose a run of task 'train'")
    data = config.data
    return RunFacts(
        method=config.method,
        generator=config.generator,
        window=data.hu_window,
        mu_water=data.mu_water,
        manifest=data.manifest,
        store=data.store,
        kernel=data.kernel,
        mu_air=data.mu_air,
        keep=config.training.keep,
    )


def _load_run(run: Path, checkpoint: str | None, device: str) -> Model:
    facts = read_run_facts(run)
    weights = run / "checkpoints" / f"{checkpoint or facts.keep}.pt"
    state = read_checkpoint(weights)
    generator = build_generator(facts.generator)
    try:
        generator.load_state_dict(denoiser_weights(state))
    except BundleError as error:
        raise BundleError(f"{weights}: {error}") from error
    except RuntimeError as error:
        raise BundleError(f"{run}: weights in {weights.name} do not fit the generator in config.yaml") from error
    return Model(
        generator=generator,
        window=facts.window,
        mu_water=facts.mu_water,
        mu_air=facts.mu_air,
        device=resolve_device(device),
        average_flips=False,
        fingerprint=read_run_fingerprint(run),
        name=printable(run.resolve().name),
        digest=_digest(weights),
    )


def _load_bundle(bundle: Path, device: str) -> Model:
    facts = read_bundle_facts(bundle)
    return Model(
        generator=load_bundle_generator(bundle, facts.spec),
        window=facts.window,
        mu_water=facts.mu_water,
        mu_air=facts.mu_air,
        device=resolve_device(device),
        average_flips=facts.average_flips,
        fingerprint=read_bundle_fingerprint(bundle),
        name=printable(bundle.resolve().name),
        digest=_digest(bundle_weights(bundle)),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
