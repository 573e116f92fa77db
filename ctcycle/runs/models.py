"""Trained denoisers from where they are kept: a run folder, or a bundle folder that ctcycle exported."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from ctcycle.components import build_generator
from ctcycle.config.loading import load_config
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.errors import BundleError, ConfigError
from ctcycle.inference.denoiser import Denoiser, make_inferer, resolve_device
from ctcycle.inference.fingerprint import Fingerprint, read_fingerprint
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.checkpoints import denoiser_weights, load_archive, read_checkpoint

MAX_BYTES = 2**20
"""Of a JSON file; those that ctcycle writes have some thousand."""

_T = TypeVar("_T")
_SPEC = TypeAdapter(GeneratorSpec)
_WINDOW = TypeAdapter(HUWindow)
_MU_WATER: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(gt=0, allow_inf_nan=False)])


def load_denoiser(
    model: Path,
    checkpoint: str = "best",
    device: str = "auto",
    *,
    strength: float = 1.0,
    tile: int = 0,
    average_flips: bool | None = None,
) -> Denoiser:
    """The denoiser of a training run or of a bundle: its generator, weights and window.

    Of a bundle nothing is executed: network and window are read from ``configs/inference.json`` as plain data, and
    understood only as ctcycle writes them; and no more memory is taken than its weights need.

    Args:
        model: a run folder, or a bundle folder.
        checkpoint: "best" or "last" of a run; a bundle has one alone.
        device: see `ctcycle.inference.denoiser.resolve_device`.
        strength: factor of the correction, from 0 to 2.
        tile: see `ctcycle.inference.denoiser.make_inferer`.
        average_flips: likewise; None is what the bundle says, or False.

    Raises:
        BundleError: this is neither, or the weights do not fit the config.
        ConfigError: there is no such device; strength or tile are out of range.
    """
    load = _from_bundle if is_bundle(model) else _from_run
    generator, window, mu_water = load(model, weights_path(model, checkpoint))
    if average_flips is None:
        average_flips = (
            is_bundle(model) and _read_json(model / "configs" / "inference.json").get("average_flips") is True
        )
    inferer = make_inferer(tile, average_flips=average_flips)
    return Denoiser(generator, window, resolve_device(device), inferer=inferer, strength=strength, mu_water=mu_water)


def load_fingerprint(model: Path) -> Fingerprint | None:
    """What a model was trained on, as its run or bundle folder says; None where it says nothing.

    Raises:
        BundleError: the file is damaged, or none of the bundle's own.
    """
    kept = _own_file(model, model / "configs" / "fingerprint.json") if is_bundle(model) else model / "fingerprint.json"
    if not kept.exists():
        return None
    if kept.stat().st_size > MAX_BYTES:
        raise BundleError(f"{kept}: is no fingerprint (larger than {MAX_BYTES} bytes); export the bundle again")
    return read_fingerprint(kept)


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
            f"{run}: its config.yaml is not that of a run of this version ({str(error).splitlines()[0]}); "
            "name another folder"
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
    path = _own_file(bundle, bundle / "configs" / "inference.json")
    try:
        config = _read_json(path)
        network = _arguments(config["network_def"], "scripts.networks.resnet.ResNetGenerator", {"spec"})
        spec = _typed(_SPEC, _arguments(network["spec"], "scripts.networks.specs.GeneratorSpec"))
        window = _typed(_WINDOW, _arguments(config["hu_window"], "scripts.ct.hounsfield.HUWindow"))
        mu_water = _typed(_MU_WATER, config["mu_water"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path}: is not as ctcycle writes it ({_reason(error)}), and nothing else in a bundle is run; "
            "export the bundle again"
        ) from error
    tensors = _read_weights(_own_file(bundle, weights))
    if not _fit(tensors, spec):
        raise BundleError(f"{weights}: does not fit the network of {path.name}; export the bundle again")
    generator = ResNetGenerator(spec)
    generator.load_state_dict(tensors)
    return generator, window, mu_water


def _own_file(bundle: Path, path: Path) -> Path:
    """``path``, if it leads to a file inside the bundle, or to nothing."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(bundle)):
        raise BundleError(f"{path}: is a link out of the bundle; put the file itself there")
    if path.exists() and not path.is_file():
        raise BundleError(f"{path}: is not a file; export the bundle again")
    return path


def _read_json(path: Path) -> Any:
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    return json.loads(content)


def _fit(weights: Mapping[str, Tensor], spec: GeneratorSpec) -> bool:
    """Whether these are the weights of this network; found without making it, as a config may ask for any size."""
    if max(spec.blocks, spec.downsamplings) > len(weights):
        return False
    try:
        with torch.device("meta"):
            wanted = ResNetGenerator(spec).state_dict()
    except (RuntimeError, TypeError, OverflowError):  # sizes beyond all numbers
        return False
    return {name: value.shape for name, value in wanted.items()} == {name: w.shape for name, w in weights.items()}


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
        weights = load_archive(path)
        whole = all(value.layout is torch.strided and value.device.type == "cpu" for value in weights.values())
        # A tensor may repeat a few numbers without end; what ctcycle writes is as large as it says.
        whole = whole and sum(value.nbytes for value in weights.values()) <= path.stat().st_size
    except FileNotFoundError as error:
        raise BundleError(f"{path}: there are no such weights; export the bundle again") from error
    except Exception as error:  # damage makes the readers of zip and pickle raise nearly anything
        raise BundleError(f"{path}: damaged, or more than weights; export the bundle again") from error
    if not whole:
        raise BundleError(f"{path}: damaged, or more than weights; export the bundle again")
    found: dict[str, Tensor] = weights
    return found
