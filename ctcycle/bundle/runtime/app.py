"""The classes used in ``configs/inference.json`` of a bundle, which denoises a folder of CT series.

Constructors only store their arguments; all checks happen in `run`, so that `run_task` can report an error in one line.
"""

import hashlib
import logging
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor, nn
from torch.utils.data import Dataset

from ctcycle import __version__
from ctcycle.ct.hounsfield import MU_AIR, MU_WATER, HUWindow, MuScale
from ctcycle.ct.series import SeriesInfo
from ctcycle.ct.series_io import Derivation, find_series, read_series
from ctcycle.errors import BundleError, ConfigError, CtcycleError, printable
from ctcycle.inference.denoiser import Denoiser, resolve_device
from ctcycle.inference.fingerprint import Fingerprint, read_fingerprint
from ctcycle.inference.folders import DenoiseOptions, Images, denoise_folder
from ctcycle.inference.inferers import make_inferer
from ctcycle.inference.weights import check_finite

_log = logging.getLogger(__name__)
_LOG_EVERY_S = 5.0
"""Time between two progress lines of a series."""


class Runnable(Protocol):
    """A task that a bundle config can run."""

    def run(self) -> str:
        """Run the task and return a summary."""
        ...


def run_task(task: Runnable) -> str:
    """Run a task as a command: print its summary, or print an error as one line and exit with its code.

    Raises:
        SystemExit: the task failed; exit codes are those of `ctcycle.errors`, and the error is the last line on stderr.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")  # they quote headers, which may name a patient
            text = task.run()
    except CtcycleError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{printable(str(error))}\n")
        raise SystemExit(error.exit_code) from None
    sys.stdout.write(f"{printable(text)}\n")
    return text


class SlicesOrTiles(Inferer):
    """Applies a network to slices or tiles, optionally averaging over flips; arguments are checked on first use."""

    def __init__(self, tile: int = 0, average_flips: bool = False) -> None:
        super().__init__()
        self.tile, self.average_flips = tile, average_flips

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Apply ``network`` to images (N, 1, H, W), see `ctcycle.inference.inferers.make_inferer`.

        Raises:
            ConfigError: the tile size is invalid, or ``average_flips`` is not a boolean.
        """
        output: Tensor = self.checked()(inputs, partial(network, *args, **kwargs))
        return output

    def checked(self) -> Callable[..., Tensor]:
        """Return the inferer of these arguments.

        Raises:
            ConfigError: as for a call.
        """
        if not isinstance(self.tile, int):
            raise ConfigError(f"tile={self.tile!r}: must be a whole number of pixels")
        return make_inferer(self.tile, average_flips=_flag("average_flips", self.average_flips))


@dataclass(frozen=True)
class BundledModel:
    """The network of a bundle and its settings for denoising in HU.

    Attributes:
        bundle_root: the bundle's folder; the weights are in its ``models/model.pt``.
        network: the network from ``network_def``; the weights are loaded into it.
        window: the HU window used in training.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        device: device to run on, as an object or a name such as "auto", "cpu" or "cuda".
        inferer: applies the network to whole slices or tiles.
        strength: factor of the correction, as a number or text; or "auto", which only `FolderDenoiser` can resolve.
        mu_air: attenuation of air in 1/mm, used as ``mu_water`` is.
    """

    bundle_root: str | Path
    network: nn.Module
    window: HUWindow
    mu_water: float = MU_WATER
    device: str | torch.device = "auto"
    inferer: Inferer | None = None
    strength: float | str = 1.0
    mu_air: float = MU_AIR

    @property
    def auto_strength(self) -> bool:
        """Whether the strength is to be chosen for each series."""
        return self.strength == "auto"

    @property
    def weights(self) -> Path:
        """The path of the weights."""
        return Path(self.bundle_root) / "models" / "model.pt"

    def denoiser(self) -> Denoiser:
        """Load the weights and return the denoiser.

        Raises:
            BundleError: the weights are missing, damaged, or do not fit the network.
            ConfigError: the device or the strength is invalid, or the strength is "auto".
        """
        if self.auto_strength:
            raise ConfigError("strength=auto: only for denoising a folder; set a number from 0 to 2")
        device, strength = _device(self.device), _number("strength", self.strength)
        network = load_weights(self.network, self.weights)
        mu = MuScale(float(self.mu_water), float(self.mu_air))
        inferer = self.inferer.checked() if isinstance(self.inferer, SlicesOrTiles) else self.inferer
        return Denoiser(network, self.window, device, inferer=inferer, strength=strength, mu=mu)

    def derivation(self) -> Derivation:
        """Return the derivation for DICOM headers, with the model's name and the hash of its weights."""
        digest = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        return Derivation(__version__, Path(self.bundle_root).resolve().name, digest)


def load_weights(network: nn.Module, path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """Load the weights in a file into ``network`` and return it on ``device``; no code in the file is run.

    Raises:
        BundleError: the file is missing, damaged, or does not fit the network.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not verify checksums
        weights = torch.load(path, map_location="cpu", weights_only=True) if damaged is None else {}
        network.load_state_dict(weights)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: weights not found; run this in the bundle's folder, or set bundle_root") from error
    except Exception as error:  # the zip and pickle readers can raise almost anything on damage
        raise BundleError(
            f"{path}: damaged, or not the weights of this network; download or copy the bundle again"
        ) from error
    try:
        check_finite(weights)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    return network.to(device)


class CTFolder(Dataset[dict[str, Any]]):
    """The CT series in a file or under a folder, which is scanned on first access.

    Args:
        path: a folder of DICOM, NIfTI or npy with any nesting, or one file.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        mu_air: attenuation of air in 1/mm, likewise.
    """

    def __init__(self, path: str | Path, mu_water: float = MU_WATER, mu_air: float = MU_AIR) -> None:
        self.path, self.is_given = Path(str(path)), bool(str(path))
        self._mu_water, self._mu_air = mu_water, mu_air

    @cached_property
    def series(self) -> list[SeriesInfo]:
        """The series, sorted by path.

        Raises:
            SeriesError: the folder does not exist.
        """
        return find_series(self.path, self._mu_water, mu_air=self._mu_air)[0]

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a series: ``image``, (S, H, W) float32 in HU, and ``path``."""
        info = self.series[index]
        image: Tensor = torch.from_numpy(read_series(info).hu)
        return {"image": image, "path": str(info.path)}


@dataclass(frozen=True)
class FolderDenoiser:
    """Denoises every series of a folder, keeping file formats.

    Attributes:
        dataset: the series to denoise.
        out: output folder, created if missing.
        model: the network.
        options: see `ctcycle.inference.folders`; strings such as "true" from the command line are accepted as booleans.
        fingerprint: file with the fingerprint of the training data, relative to the bundle; empty for none.
    """

    dataset: CTFolder
    out: str | Path
    model: BundledModel
    options: DenoiseOptions
    fingerprint: str = ""

    def run(self) -> str:
        """Denoise all series; the outcome for each is also written to ``summary.json``.

        Returns:
            A summary in one sentence.

        Raises:
            CtcycleError: as for `ctcycle.inference.folders.denoise_folder`.
        """
        for name, is_given in (("input", self.dataset.is_given), ("output", bool(str(self.out)))):
            if not is_given:
                raise ConfigError(f"{name}: the path is empty; '.' is the current folder")
        axis = _axis(self.options.slice_axis)
        auto = self.model.auto_strength
        options = replace(checked_flags(self.options), slice_axis=axis, progress=logged, auto_strength=auto)
        model = replace(self.model, strength=1.0) if auto else self.model
        denoiser, out = model.denoiser(), Path(str(self.out))
        return denoise_folder(
            self.dataset.path, out, denoiser, self.model.derivation(), options, fingerprint=self._fingerprint()
        )

    def _fingerprint(self) -> Fingerprint | None:
        return read_fingerprint(Path(self.model.bundle_root) / self.fingerprint) if self.fingerprint else None


def checked_flags(options: DenoiseOptions) -> DenoiseOptions:
    """Return the options with strings such as "true" converted to booleans.

    Raises:
        ConfigError: a value is neither a boolean nor such a string.
    """
    names = [field.name for field in fields(options) if field.type is bool]
    checked: dict[str, Any] = {name: _flag(name, getattr(options, name)) for name in names}
    return replace(options, **checked)


def logged(images: Images, name: str, count: int) -> Images:
    """Pass images through and log progress every few seconds."""
    start = last = time.monotonic()
    for number, image in enumerate(images, 1):
        yield image
        if (now := time.monotonic()) - last > _LOG_EVERY_S or number == count:
            last = now
            _log.info("%s: %d of %d slices, %.1f s", name, number, count, now - start)


def _flag(name: str, value: Any) -> bool:
    values: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
    found = values.get(str(value).lower())
    if found is None:
        raise ConfigError(f"{name}={value!r}: must be true or false")
    return found


def _axis(value: Any) -> int | None:
    axes: Mapping[str, int | None] = {"None": None, "0": 0, "1": 1, "2": 2}
    if str(value) not in axes:
        raise ConfigError(f"slice_axis={value!r}: must be 0, 1 or 2")
    return axes[str(value)]


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}={value!r}: must be a number") from error


def _device(device: str | torch.device) -> torch.device:
    try:
        return resolve_device(str(device))
    except (RuntimeError, KeyError) as error:
        raise ConfigError(f"device={str(device)!r}: must be auto, cpu, cuda, cuda:N or mps") from error
