"""Reader of bundle folders exported by ctcycle; they are read as plain data and nothing in them is executed.

Only the form written by ctcycle is accepted, and no more memory is used than the weights need.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from ctcycle.ct.hounsfield import MU_AIR, HUWindow, MuScale
from ctcycle.errors import BundleError
from ctcycle.inference.fingerprint import Fingerprint
from ctcycle.inference.weights import check_finite
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.runs.checkpoints import load_archive
from ctcycle.runs.fingerprints import MAX_BYTES, read_kept_fingerprint

_T = TypeVar("_T")
_SPEC = TypeAdapter(GeneratorSpec)
_WINDOW = TypeAdapter(HUWindow)
_MU_WATER: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(gt=0, allow_inf_nan=False)])
_MU_AIR: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(ge=0, allow_inf_nan=False)])


@dataclass(frozen=True)
class BundleFacts:
    """The properties of a bundle's model recorded in its configs.

    Attributes:
        spec: the spec of the generator.
        window: the HU window of its input.
        mu_water: attenuation of water in 1/mm.
        has_fingerprint: whether the bundle has a fingerprint of its training slices.
        average_flips: whether it averages over four flips by default.
        mu_air: attenuation of air in 1/mm; 0 in bundles that do not record it.
    """

    spec: GeneratorSpec
    window: HUWindow
    mu_water: float
    has_fingerprint: bool
    average_flips: bool = False
    mu_air: float = MU_AIR


def is_bundle(folder: Path) -> bool:
    """Return whether a folder is a MONAI bundle."""
    return (folder / "configs" / "metadata.json").is_file()


def read_bundle_facts(bundle: Path, *, any_target: bool = False) -> BundleFacts:
    """Read ``configs/inference.json`` of a bundle.

    Args:
        bundle: the bundle folder.
        any_target: accept ``_target_``s other than those written by this version; they are ignored either way.

    Raises:
        BundleError: the file does not have the form written by ctcycle.
    """
    path = _own_file(bundle, bundle / "configs" / "inference.json")
    targets = None if any_target else _TARGETS
    try:
        config = _read_json(path)
        spec = _typed(_SPEC, _arguments(_spec_section(config, targets), "spec", targets))
        window = _typed(_WINDOW, _arguments(config["hu_window"], "hu_window", targets))
        mu = MuScale(_typed(_MU_WATER, config["mu_water"]), _typed(_MU_AIR, config.get("mu_air", MU_AIR)))
        return BundleFacts(
            spec=spec,
            window=window,
            mu_water=mu.water,
            has_fingerprint=bool(config.get("fingerprint")),
            average_flips=config.get("average_flips") is True,
            mu_air=mu.air,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path}: not a config written by ctcycle ({_reason(error)}), and no other code in bundles is run; "
            "export the bundle again"
        ) from error


def bundle_weights(bundle: Path) -> Path:
    """Return the path of the weights of a bundle.

    Raises:
        BundleError: it is a link to outside the bundle, or not a file.
    """
    return _own_file(bundle, bundle / "models" / "model.pt")


def load_bundle_generator(bundle: Path, spec: GeneratorSpec) -> ResNetGenerator:
    """Load the generator of a bundle with its weights.

    Raises:
        BundleError: the weights are missing, damaged, or belong to another network.
    """
    path = bundle_weights(bundle)
    tensors = _read_weights(path)
    if not _fit(tensors, spec):
        raise BundleError(f"{path}: weights do not fit the network in inference.json; export the bundle again")
    try:
        check_finite(tensors)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
    generator = ResNetGenerator(spec)
    generator.load_state_dict(tensors)
    return generator


def read_bundle_fingerprint(bundle: Path) -> Fingerprint | None:
    """Read the fingerprint of the training slices of a bundle; return None if the bundle has none.

    Raises:
        BundleError: the file is damaged, or is located outside the bundle.
    """
    return read_kept_fingerprint(_own_file(bundle, bundle / "configs" / "fingerprint.json"))


_TARGETS = {
    "network_def": "scripts.networks.resnet.ResNetGenerator",
    "spec": "scripts.networks.specs.GeneratorSpec",
    "hu_window": "scripts.ct.hounsfield.HUWindow",
}
"""The ``_target_`` that ctcycle writes to each section it reads."""


def _own_file(bundle: Path, path: Path) -> Path:
    """Return ``path`` if it is a file inside the bundle or does not exist; refuse links to outside."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(bundle)):
        raise BundleError(f"{path}: is a link to outside the bundle; replace it with the file itself")
    if path.exists() and not path.is_file():
        raise BundleError(f"{path}: is not a file; export the bundle again")
    return path


def _read_json(path: Path) -> Any:
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    return json.loads(content)


def _arguments(section: Mapping[str, Any], name: str, targets: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the arguments of a section after checking that its ``_target_`` is the one that ctcycle writes."""
    arguments = dict(section)
    found = arguments.pop("_target_")
    if targets is not None and found != targets[name]:
        raise ValueError(f"_target_ is {found!r}, not {targets[name]!r}")
    return arguments


def _spec_section(config: Mapping[str, Any], targets: Mapping[str, str] | None) -> Any:
    network = _arguments(config["network_def"], "network_def", targets)
    if network.keys() != {"spec"}:
        raise ValueError(f"arguments of {_TARGETS['network_def']} are {sorted(network)}, not ['spec']")
    return network["spec"]


def _typed(adapter: TypeAdapter[_T], value: Any) -> _T:
    """Validate a value strictly: text is never converted to a number, so expressions are refused."""
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
        plain = all(value.layout is torch.strided and value.device.type == "cpu" for value in weights.values())
        # A tensor with zero strides can claim any size; the tensors that ctcycle writes are no larger than the file.
        plain = plain and sum(value.nbytes for value in weights.values()) <= path.stat().st_size
    except FileNotFoundError as error:
        raise BundleError(f"{path}: the weights are missing; export the bundle again") from error
    except Exception as error:  # the zip and pickle readers raise nearly any exception on damaged files
        raise BundleError(f"{path}: damaged, or contains more than weights; export the bundle again") from error
    if not plain:
        raise BundleError(f"{path}: damaged, or contains more than weights; export the bundle again")
    found: dict[str, Tensor] = weights
    return found


def _fit(weights: Mapping[str, Tensor], spec: GeneratorSpec) -> bool:
    """Return whether the weights fit the network, without allocating it, since a config may request any size."""
    if max(spec.blocks, spec.downsamplings) > len(weights):
        return False
    try:
        with torch.device("meta"):
            wanted = ResNetGenerator(spec).state_dict()
    except (RuntimeError, TypeError, OverflowError):  # sizes too large to represent
        return False
    real = all(
        weight.is_floating_point() == wanted[name].is_floating_point()
        for name, weight in weights.items()
        if name in wanted
    )
    return real and {name: value.shape for name, value in wanted.items()} == {
        name: w.shape for name, w in weights.items()
    }
