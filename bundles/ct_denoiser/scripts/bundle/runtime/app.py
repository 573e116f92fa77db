# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""What ``configs/inference.json`` of a bundle names: a folder of CT in, denoised CT out.

Objects only keep what they are given until `run` is called, so that `run_task` can tell what is wrong in one line.
"""

import hashlib
import logging
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from monai.inferers.inferer import Inferer
from torch import Tensor, nn
from torch.utils.data import Dataset

from scripts import __version__
from scripts.ct.hounsfield import MU_WATER, HUWindow
from scripts.ct.series import SeriesInfo
from scripts.ct.series_io import Derivation, find_series, read_series
from scripts.errors import BundleError, ConfigError, CtcycleError
from scripts.inference.denoiser import Denoiser, make_inferer, resolve_device
from scripts.inference.fingerprint import Fingerprint, read_fingerprint
from scripts.inference.folders import DenoiseOptions, Images, denoise_folder

_log = logging.getLogger(__name__)
_SECONDS = 5.0
"""Between two lines that tell how far a series is."""


class Runnable(Protocol):
    """Something that a config of a bundle runs."""

    def run(self) -> str:
        """Does it, and says what was done."""
        ...


def run_task(task: Runnable) -> str:
    """Runs a task as a command line should: what was done is shown; what is wrong ends it with a sentence and a code.

    Raises:
        SystemExit: with the exit code of `ctcycle.errors`; the sentence is the last line on stderr.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")  # they quote the header, which may name a patient
            text = task.run()
    except CtcycleError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from None
    sys.stdout.write(f"{text}\n")
    return text


class SlicesOrTiles(Inferer):
    """Whole slices or tiles, once or flipped (`ctcycle.inference.denoiser.make_inferer`); checked when used."""

    def __init__(self, tile: int = 0, average_flips: bool = False) -> None:
        super().__init__()
        self.tile, self.average_flips = tile, average_flips

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """(N, 1, H, W) through ``network``.

        Raises:
            ConfigError: no such size of tiles, or ``average_flips`` is neither true nor false.
        """
        if not isinstance(self.tile, int):
            raise ConfigError(f"tile {self.tile!r}: must be a whole number of pixels")
        flips = _flag("average_flips", self.average_flips)
        output: Tensor = make_inferer(self.tile, average_flips=flips)(inputs, network, *args, **kwargs)
        return output


@dataclass(frozen=True)
class BundledModel:
    """The network of a bundle with all that it takes to speak HU.

    Attributes:
        bundle_root: the bundle's folder; the weights are its ``models/model.pt``.
        network: as ``network_def`` builds it; it gets the weights.
        window: what it was trained with.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        device: where it runs; "auto", "cpu", "cuda" as words, too.
        inferer: whole slices, or tiles.
        strength: factor of the correction.
    """

    bundle_root: str | Path
    network: nn.Module
    window: HUWindow
    mu_water: float = MU_WATER
    device: str | torch.device = "auto"
    inferer: Inferer | None = None
    strength: float = 1.0

    @property
    def weights(self) -> Path:
        """The file of the weights."""
        return Path(self.bundle_root) / "models" / "model.pt"

    def denoiser(self) -> Denoiser:
        """The network with its weights, ready to run.

        Raises:
            BundleError: the weights are missing, damaged, or do not fit the network.
            ConfigError: there is no such device, or no such strength.
        """
        device, strength = _device(self.device), _number("strength", self.strength)
        network = load_weights(self.network, self.weights)
        return Denoiser(
            network, self.window, device, inferer=self.inferer, strength=strength, mu_water=float(self.mu_water)
        )

    def derivation(self) -> Derivation:
        """What a header says of the denoising: this model, by name and by the hash of its weights."""
        digest = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        return Derivation(__version__, Path(self.bundle_root).resolve().name, digest)


def load_weights(network: nn.Module, path: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """Fills ``network`` with the weights of a file and gives it back on ``device``; nothing in the file is run.

    Raises:
        BundleError: the file is missing, damaged, or does not fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not look at the checksums
        weights = torch.load(path, map_location="cpu", weights_only=True) if damaged is None else {}
        network.load_state_dict(weights)
    except FileNotFoundError as error:
        raise BundleError(
            f"{path}: there are no such weights; run it in the bundle's folder, or set bundle_root"
        ) from error
    except Exception as error:  # damage makes the readers of zip and pickle raise nearly anything
        raise BundleError(f"{path}: damaged, or not the weights of this network; get the bundle again") from error
    return network.to(device)


class CTFolder(Dataset[dict[str, Any]]):
    """The CT series under a folder or in a file; it is looked through when the first is asked for.

    Args:
        path: a folder of DICOM, NIfTI or npy, nested anyhow, or one file.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
    """

    def __init__(self, path: str | Path, mu_water: float = MU_WATER) -> None:
        self.path = Path(str(path))
        self._mu_water = mu_water

    @cached_property
    def series(self) -> list[SeriesInfo]:
        """The series, by path.

        Raises:
            SeriesError: the folder does not exist.
        """
        return find_series(self.path, self._mu_water)[0]

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A series: ``image``, (S, H, W) float32 in HU, and ``path``."""
        info = self.series[index]
        image: Tensor = torch.from_numpy(read_series(info).hu)
        return {"image": image, "path": str(info.path)}


@dataclass(frozen=True)
class FolderDenoiser:
    """Denoises every series of a folder to files of the same kind.

    Attributes:
        dataset: what is denoised.
        out: where to; made when needed.
        model: the network.
        options: see `ctcycle.inference.folders`; words like "true", as a command line gives them, are taken for flags.
        fingerprint: file that tells what the model was trained on, relative to the bundle; empty for none.
    """

    dataset: CTFolder
    out: str | Path
    model: BundledModel
    options: DenoiseOptions
    fingerprint: str = ""

    def run(self) -> str:
        """Denoises; what was done, skipped and refused is written to ``summary.json``, too.

        Returns:
            What was done, in a sentence.

        Raises:
            CtcycleError: as `ctcycle.inference.folders.denoise_folder` says.
        """
        options = replace(checked_flags(self.options), progress=logged)
        denoiser, out = self.model.denoiser(), Path(str(self.out))
        return denoise_folder(
            self.dataset.path, out, denoiser, self.model.derivation(), options, fingerprint=self._fingerprint()
        )

    def _fingerprint(self) -> Fingerprint | None:
        return read_fingerprint(Path(self.model.bundle_root) / self.fingerprint) if self.fingerprint else None


def checked_flags(options: DenoiseOptions) -> DenoiseOptions:
    """The options with words for flags made flags.

    Raises:
        ConfigError: a value is neither a flag nor such a word.
    """
    names = [field.name for field in fields(options) if field.type is bool]
    checked: dict[str, Any] = {name: _flag(name, getattr(options, name)) for name in names}
    return replace(options, **checked)


def logged(images: Images, name: str, count: int) -> Images:
    """Passes images on and logs, every few seconds, how many have passed."""
    start = told = time.monotonic()
    for number, image in enumerate(images, 1):
        yield image
        if (now := time.monotonic()) - told > _SECONDS or number == count:
            told = now
            _log.info("%s: %d of %d slices, %.1f s", name, number, count, now - start)


def _flag(name: str, value: Any) -> bool:
    words: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
    found = words.get(str(value).lower())
    if found is None:
        raise ConfigError(f"{name} {value!r}: must be true or false")
    return found


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} {value!r}: must be a number") from error


def _device(device: str | torch.device) -> torch.device:
    try:
        return resolve_device(str(device))
    except (RuntimeError, KeyError) as error:
        raise ConfigError(f"device {str(device)!r}: must be auto, cpu, cuda, cuda:N or mps") from error
