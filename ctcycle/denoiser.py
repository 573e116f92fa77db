"""A trained generator as a function of HU: whole slices in, the correction in HU out."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import monai.networks.nets
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from ctcycle.build import build_component
from ctcycle.checkpoints import denoiser_weights, read_checkpoint
from ctcycle.config.components import Component
from ctcycle.config.loading import load_config
from ctcycle.errors import BundleError, ConfigError
from ctcycle.hounsfield import MU_WATER, HUWindow
from ctcycle.network_specs import GeneratorSpec
from ctcycle.networks import ResNetGenerator

_MULTIPLE = 32  # px; images are padded to multiples of it: networks with up to five down-samplings take any size


def resolve_device(name: str) -> torch.device:
    """The device called ``name``; "auto" takes a GPU where there is one.

    Raises:
        ConfigError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = torch.device(name)
    if not available[device.type] or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ConfigError(f"device '{name}': not on this machine; use auto or cpu")
    return device


def build_generator(spec: GeneratorSpec | Component, *, noise_channel: bool = False) -> nn.Module:
    """The network of a config's ``generator`` section, weights drawn from torch's global generator."""
    if isinstance(spec, Component):
        net: nn.Module = build_component(spec, monai.networks.nets)
        return net
    return ResNetGenerator(spec, noise_channel=noise_channel)


class Denoiser:
    """Low dose to full dose, in HU, on whole slices of any size.

    Args:
        generator: (N, 1, H, W) in the network's range to the same; taken as it is, in evaluation mode.
        window: what it was trained with.
        device: where it runs.
        mu_water: attenuation of water in 1/mm that its training took, for series that hold attenuation.
    """

    def __init__(
        self, generator: nn.Module, window: HUWindow, device: torch.device, mu_water: float = MU_WATER
    ) -> None:
        self.generator = generator.to(device).eval()
        self.window, self.device, self.mu_water = window, device, mu_water

    @torch.inference_mode()
    def correction(self, hu: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """What is to be added to a slice or to slices, in HU, float32 of the same shape.

        It is 0 wherever a value lies outside the window: the network did not see that value.

        Args:
            hu: (H, W) or (S, H, W), finite.
        """
        slices = torch.from_numpy(np.ascontiguousarray(hu, dtype=np.float32)).reshape(-1, 1, *hu.shape[-2:])
        parts = [self._correct(image[None].to(self.device)).cpu() for image in slices]
        return torch.cat(parts).reshape(hu.shape).numpy()

    def __call__(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """The denoised slice or slices in HU, of the same shape."""
        return hu + self.correction(hu)

    def _correct(self, image: torch.Tensor) -> torch.Tensor:
        rows, columns = image.shape[-2:]
        values = self.window.normalise(image)
        padding = (0, -columns % _MULTIPLE, 0, -rows % _MULTIPLE)
        padded = F.pad(values, padding, mode="replicate") if any(padding) else values
        half = torch.autocast(self.device.type, dtype=torch.float16) if self.device.type == "cuda" else nullcontext()
        with half:
            change = self.generator(padded)[..., :rows, :columns].float() - values
        inside = image == self.window.clip(image)
        corrected: torch.Tensor = change * self.window.hu_per_unit * inside
        return corrected


def load_denoiser(run: Path, checkpoint: str, device: str) -> Denoiser:
    """The denoiser of a training run: its generator, weights and window.

    Args:
        run: a run folder.
        checkpoint: "best" or "last".
        device: see `resolve_device`.

    Raises:
        BundleError: this is no training run, or the weights do not fit the config.
    """
    if not (run / "config.yaml").is_file():
        raise BundleError(f"{run}: not a run folder (no config.yaml in it); train first, or name another folder")
    try:
        config = load_config(run / "config.yaml").config
    except ConfigError as error:
        raise BundleError(
            f"{run}: its config.yaml is not that of a run of this version; name another folder"
        ) from error
    if config.task != "train":
        raise BundleError(f"{run}: holds a run of task '{config.task}'; a denoiser comes from task 'train'")
    state = read_checkpoint(run / "checkpoints" / f"{checkpoint}.pt")
    generator = build_generator(config.generator)
    try:
        generator.load_state_dict(denoiser_weights(state))
    except RuntimeError as error:
        raise BundleError(f"{run}: weights of {checkpoint}.pt do not fit the generator of its config") from error
    return Denoiser(generator, config.data.hu_window, resolve_device(device), config.data.mu_water)
