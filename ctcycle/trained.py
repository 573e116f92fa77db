"""Trained denoisers from where they are kept: a run folder, or a bundle folder that ctcycle exported."""

import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from ctcycle.build import build_generator
from ctcycle.checkpoints import denoiser_weights, read_checkpoint
from ctcycle.config.loading import load_config
from ctcycle.denoiser import Denoiser, make_inferer, resolve_device
from ctcycle.errors import BundleError, ConfigError
from ctcycle.fingerprint import Fingerprint, read_fingerprint
from ctcycle.hounsfield import HUWindow
from ctcycle.network_specs import GeneratorSpec
from ctcycle.networks import ResNetGenerator

_T = TypeVar("_T")
_SPEC = TypeAdapter(GeneratorSpec)
_WINDOW = TypeAdapter(HUWindow)
_MU_WATER: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(gt=0, allow_inf_nan=False)])


def load_denoiser(
    model: Path, checkpoint: str = "best", device: str = "auto", *, strength: float = 1.0, tile: int = 0
) -> Denoiser:
    """The denoiser of a training run or of a bundle: its generator, weights and window.

    Of a bundle nothing is executed: network and window are read from ``configs/inference.json`` as plain data, and
    understood only as ctcycle writes them.

    Args:
        model: a run folder, or a bundle folder.
        checkpoint: "best" or "last" of a run; a bundle has one alone.
        device: see `ctcycle.denoiser.resolve_device`.
        strength: factor of the correction, from 0 to 2.
        tile: see `ctcycle.denoiser.make_inferer`.

    Raises:
        BundleError: this is neither, or the weights do not fit the config.
        ConfigError: there is no such device; strength or tile are out of range.
    """
    load = _from_bundle if is_bundle(model) else _from_run
    generator, window, mu_water = load(model, weights_path(model, checkpoint))
    return Denoiser(
        generator, window, resolve_device(device), inferer=make_inferer(tile), strength=strength, mu_water=mu_water
    )


def load_fingerprint(model: Path) -> Fingerprint | None:
    """What a model was trained on, as its run or bundle folder says; None where it says nothing.

    Raises:
        BundleError: the file is damaged.
    """
    path = model / "configs" / "fingerprint.json" if is_bundle(model) else model / "fingerprint.json"
    return read_fingerprint(path) if path.exists() else None


def is_bundle(model: Path) -> bool:
    """Whether a folder is a MONAI bundle."""
    return (model / "configs" / "metadata.json").is_file()


def weights_path(model: Path, checkpoint: str = "best") -> Path:
    """The file that holds the weights of a run or bundle folder."""
    return model / "models" / "model.pt" if is_bundle(model) else model / "checkpoints" / f"{checkpoint}.pt"


def _from_run(run: Path, weights: Path) -> tuple[nn.Module, HUWindow, float]:
    if not (run / "config.yaml").is_file():
        raise BundleError(
            f"{run}: not a run folder (no config.yaml in it); train first, or name another folder, or a bundle's"
        )
    try:
        config = load_config(run / "config.yaml").config
    except ConfigError as error:
        raise BundleError(
            f"{run}: its config.yaml is not that of a run of this version; name another folder"
        ) from error
    if config.task != "train":
        raise BundleError(f"{run}: holds a run of task '{config.task}'; a denoiser comes from task 'train'")
    state = read_checkpoint(weights)
    generator = build_generator(config.generator)
    try:
        generator.load_state_dict(denoiser_weights(state))
    except RuntimeError as error:
        raise BundleError(f"{run}: weights of {weights.name} do not fit the generator of its config") from error
    return generator, config.data.hu_window, config.data.mu_water


def _from_bundle(bundle: Path, weights: Path) -> tuple[nn.Module, HUWindow, float]:
    path = bundle / "configs" / "inference.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        network = _arguments(config["network_def"], "scripts.networks.ResNetGenerator", {"spec"})
        spec = _typed(_SPEC, _arguments(network["spec"], "scripts.network_specs.GeneratorSpec"))
        window = _typed(_WINDOW, _arguments(config["hu_window"], "scripts.hounsfield.HUWindow"))
        mu_water = _typed(_MU_WATER, config["mu_water"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path}: is not as ctcycle writes it ({_reason(error)}), and nothing else in a bundle is run; "
            "export the bundle again"
        ) from error
    generator = ResNetGenerator(spec)
    try:
        generator.load_state_dict(_read_weights(weights))
    except RuntimeError as error:
        raise BundleError(f"{weights}: does not fit the network of {path.name}; export the bundle again") from error
    return generator, window, mu_water


def _arguments(section: Mapping[str, Any], target: str, names: Collection[str] | None = None) -> dict[str, Any]:
    """The arguments, of these names, of a section whose ``_target_`` is the one that ctcycle writes."""
    arguments = dict(section)
    if (found := arguments.pop("_target_")) != target:
        raise ValueError(f"_target_ {found!r}, needs {target!r}")
    if names is not None and arguments.keys() != names:
        raise ValueError(f"{target} with {sorted(arguments)}, needs {sorted(names)}")
    return arguments


def _typed(adapter: TypeAdapter[_T], value: Any) -> _T:
    """The value, strictly of its type: an expression is a text, and no text is a number."""
    return adapter.validate_json(json.dumps(value), strict=True)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            # The flag of a folder lies outside the checksums: torch would give back whatever is in memory.
            broken = archive.testzip() or any(record.external_attr for record in archive.infolist())
        weights = None if broken else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: there are no such weights; export the bundle again") from error
    except Exception as error:  # damage makes the readers of zip and pickle raise nearly anything
        raise BundleError(f"{path}: damaged, or more than weights; export the bundle again") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise BundleError(f"{path}: damaged, or more than weights; export the bundle again")
    return weights
