"""Trained models from where they are kept: a run folder, or a bundle folder that ctcycle exported."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ctcycle.components import build_generator
from ctcycle.config.components import Component
from ctcycle.config.loading import load_config
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.errors import BundleError, ConfigError
from ctcycle.inference.denoiser import Denoiser, make_inferer, resolve_device
from ctcycle.inference.fingerprint import Fingerprint
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
    """A trained generator, and all that is needed to denoise with it.

    Attributes:
        generator: (N, 1, H, W) in the network's range to the same.
        window: what it was trained with.
        mu_water: attenuation of water in 1/mm that its training took.
        device: where it runs.
        average_flips: whether the mean over four flips is its default.
        fingerprint: of its low-dose training slices; None if it was not measured.
        name: of its folder.
        digest: SHA-256 of the file that holds its weights, in hexadecimal.
    """

    generator: nn.Module
    window: HUWindow
    mu_water: float
    device: torch.device
    average_flips: bool
    fingerprint: Fingerprint | None
    name: str
    digest: str

    def denoiser(self, *, strength: float = 1.0, tile: int = 0, average_flips: bool | None = None) -> Denoiser:
        """Return the model as a function of HU.

        Args:
            strength: factor of the correction, from 0 to 2.
            tile: see `ctcycle.inference.denoiser.make_inferer`.
            average_flips: likewise; None takes the model's default.

        Raises:
            ConfigError: strength or tile are out of range.
        """
        inferer = make_inferer(tile, average_flips=self.average_flips if average_flips is None else average_flips)
        return Denoiser(
            self.generator, self.window, self.device, inferer=inferer, strength=strength, mu_water=self.mu_water
        )


def load_model(path: Path, checkpoint: str = "best", device: str = "auto") -> Model:
    """Load the model of a training run or of a bundle.

    Nothing in a bundle is executed, see `ctcycle.runs.bundle_folder`.

    Args:
        path: a run folder, or a bundle folder.
        checkpoint: "best" or "last" of a run; a bundle has only one.
        device: see `ctcycle.inference.denoiser.resolve_device`.

    Raises:
        BundleError: this is neither, or the weights do not fit the config.
        ConfigError: there is no such device.
    """
    return _load_bundle(path, device) if is_bundle(path) else _load_run(path, checkpoint, device)


def load_denoiser(path: Path, checkpoint: str = "best", device: str = "auto") -> Denoiser:
    """Load a model as `load_model` does, and return its denoiser with the model's own defaults."""
    return load_model(path, checkpoint, device).denoiser()


@dataclass(frozen=True)
class RunFacts:
    """What the config of a training run says about its model and its data.

    Attributes:
        method: of training.
        generator: spec of the generator.
        window: that it sees.
        mu_water: attenuation of water in 1/mm.
        manifest: of the data, as the config names it; the run folder keeps a copy.
        store: of decoded slices; None for the default.
        kernel: the only reconstruction kernel that it was trained on; None for all.
    """

    method: str
    generator: GeneratorSpec | Component
    window: HUWindow
    mu_water: float
    manifest: Path
    store: Path | None
    kernel: str | None


def read_run_facts(run: Path) -> RunFacts:
    """Read the config of a training run.

    Raises:
        BundleError: this is not the folder of a training run of this version.
    """
    if not (run / "config.yaml").is_file():
        raise BundleError(
            f"{run}: not a run folder (no config.yaml in it); train first, or name another folder, or a bundle's"
        )
    try:
        config = load_config(run / "config.yaml").config
    except ConfigError as error:
        raise BundleError(
            f"{run}: its config.yaml is not that of a run of this version ({str(error).splitlines()[0]}); "
            "name another folder"
        ) from error
    if config.task != "train":
        raise BundleError(f"{run}: holds a run of task '{config.task}'; a denoiser comes from task 'train'")
    data = config.data
    return RunFacts(
        config.method, config.generator, data.hu_window, data.mu_water, data.manifest, data.store, data.kernel
    )


def _load_run(run: Path, checkpoint: str, device: str) -> Model:
    facts = read_run_facts(run)
    weights = run / "checkpoints" / f"{checkpoint}.pt"
    state = read_checkpoint(weights)
    generator = build_generator(facts.generator)
    try:
        generator.load_state_dict(denoiser_weights(state))
    except RuntimeError as error:
        raise BundleError(f"{run}: weights of {weights.name} do not fit the generator of its config") from error
    return Model(
        generator=generator,
        window=facts.window,
        mu_water=facts.mu_water,
        device=resolve_device(device),
        average_flips=False,
        fingerprint=read_run_fingerprint(run),
        name=run.resolve().name,
        digest=_digest(weights),
    )


def _load_bundle(bundle: Path, device: str) -> Model:
    facts = read_bundle_facts(bundle)
    return Model(
        generator=load_bundle_generator(bundle, facts.spec),
        window=facts.window,
        mu_water=facts.mu_water,
        device=resolve_device(device),
        average_flips=facts.average_flips,
        fingerprint=read_bundle_fingerprint(bundle),
        name=bundle.resolve().name,
        digest=_digest(bundle_weights(bundle)),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
