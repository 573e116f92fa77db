"""The Python API: thin functions on arrays, series and folders; the default model is the shipped bundle.

All of them are available from the package: ``ctcycle.denoise(...)``.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from ctcycle.config import loading
from ctcycle.config.loading import LoadedConfig
from ctcycle.config.shipped import find_config, shipped_bundle
from ctcycle.config.suggestions import near
from ctcycle.ct import series_io
from ctcycle.ct.hounsfield import MU_AIR, MU_WATER
from ctcycle.ct.series import Series, SeriesInfo, Skipped
from ctcycle.errors import ConfigError, SeriesError
from ctcycle.metrics import PROTOCOL_NAMES, ProtocolName

if TYPE_CHECKING:  # importing torch and scikit-image takes seconds, and not every function needs them
    from ctcycle.evaluation.results import Evaluation
    from ctcycle.inference.denoiser import Denoiser
    from ctcycle.runs.models import Model

HUArray = NDArray[np.floating[Any] | np.integer[Any]]
"""A slice (H, W) or a stack of slices (S, H, W), in HU."""

ImageT = TypeVar("ImageT", Series, HUArray)
"""A series or an array to denoise; the result has the same type."""

_log = logging.getLogger(__name__)
_SAMPLE = 16


class DenoiseKeys(TypedDict, total=False):
    """The keyword arguments of `denoise_folder`, as in ``configs/denoise.yaml``."""

    checkpoint: Literal["best", "last"] | None
    device: str
    engine: Literal["torch", "onnx"]
    strength: float | Literal["auto"]
    tile: int
    average_flips: bool | None
    residual: bool
    uncertainty: bool
    strict: bool
    keep_private: bool
    assume_hu: bool
    slice_axis: Literal[0, 1, 2] | None
    overwrite: bool
    seed: int


def find_series(
    root: str | Path, *, mu_water: float = MU_WATER, mu_air: float = MU_AIR, slice_axis: Literal[0, 1, 2] | None = None
) -> tuple[list[SeriesInfo], list[Skipped]]:
    """Find all CT series in a folder or a file, reading only headers.

    Args:
        root: a folder, searched recursively, or one file.
        mu_water: attenuation of water in 1/mm, for npy files that hold attenuation.
        mu_air: attenuation of air in 1/mm, likewise.
        slice_axis: the axis that NIfTI and npy volumes are cut along; None to choose it for each volume.

    Returns:
        The series sorted by path, and the skipped files and series with reasons.

    Raises:
        SeriesError: ``root`` does not exist.
    """
    return series_io.find_series(Path(root), mu_water, mu_air=mu_air, slice_axis=slice_axis)


def read_series(source: SeriesInfo | str | Path, *, assume_hu: bool = False) -> Series:
    """Decode a series to HU.

    Args:
        source: a series from `find_series`, or the path of a folder or file that holds one series.
        assume_hu: treat NIfTI and npy values as HU even if they do not look like HU.

    Raises:
        SeriesError: the path holds no series or several; the series is damaged; or its values do not look like HU.
    """
    if isinstance(source, SeriesInfo):
        return series_io.read_series(source, assume_hu=assume_hu)
    found, skipped = find_series(source)
    if len(found) != 1:
        why = f" ({skipped[0].reason})" if skipped and not found else ""
        raise SeriesError(f"{source}: found {len(found)} CT series{why}, expected one; call find_series to list them")
    return series_io.read_series(found[0], assume_hu=assume_hu)


def load_model(
    path: str | Path | None = None, checkpoint: Literal["best", "last"] | None = None, device: str = "auto"
) -> "Model":
    """Load a trained model.

    Args:
        path: a run folder, a bundle folder, or an MLflow model such as ``models:/NAME@ALIAS`` or ``runs:/RUN_ID``; None
            for the bundle shipped with ctcycle.
        checkpoint: checkpoint of a run folder, by default the one that its config keeps (``training.keep``); ignored
            for a bundle, which has one set of weights.
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        BundleError: the folder contains no model.
        ConfigError: the device is not available.
    """
    from ctcycle.runs import models
    from ctcycle.runs.mlflow_store.model_uris import local_model

    return models.load_model(shipped_bundle() if path is None else local_model(Path(path)), checkpoint, device)


def denoise(
    image: ImageT,
    model: "Model | str | Path | None" = None,
    *,
    strength: float | Literal["auto"] = 1.0,
    tile: int = 0,
    average_flips: bool | None = None,
) -> ImageT:
    """Denoise slices in memory.

    Slices that differ from the training data, and series with the noise of a routine dose, are denoised anyway, with a
    logged warning.

    Args:
        image: slices in HU, (H, W) or (S, H, W); or a series from `read_series`.
        model: a model from `load_model`, or the path of a run folder or bundle folder; None for the shipped bundle.
        strength: factor of the correction, from 0 to 2; "auto" chooses it for a series from `read_series`, so that the
            noise of a routine dose is left.
        tile: side of overlapping tiles in pixels, to save memory; 0 for whole slices.
        average_flips: average over four flips: slightly better, four times slower. None for the model's default.

    Returns:
        A float32 array of the same shape; or the series with denoised HU and unchanged padding.

    Raises:
        SeriesError: the array has another shape, or values that are not finite; or the strength is to be chosen but the
            noise of a routine dose is unknown, as for arrays, which have no geometry.
        BundleError: the path contains no model.
        ConfigError: strength or tile is out of range.
    """
    opened = load_model(model) if model is None or isinstance(model, str | Path) else model
    hu = _checked("image", image.hu if isinstance(image, Series) else image)
    denoiser = opened.denoiser(strength=1.0 if strength == "auto" else strength, tile=tile, average_flips=average_flips)
    sample = _sample(hu, image.info if isinstance(image, Series) else None)
    _warn(opened, sample, strength_is_given=strength not in {"auto", 0})
    if strength == "auto":
        denoiser = _with_auto_strength(denoiser, sample)
    correction = denoiser.correction(hu)
    if not isinstance(image, Series):
        return hu + correction
    return replace(image, hu=hu + (correction if image.padding is None else correction * ~image.padding))


def denoise_folder(
    source: str | Path, out: str | Path, model: str | Path | None = None, **options: Unpack[DenoiseKeys]
) -> dict[str, Any]:
    """Denoise every series in ``source`` to files of the same format in ``out``, as ``ctcycle denoise`` does.

    Args:
        source: a series, a volume, or a folder of them.
        out: the output folder, which also gets a log, a summary and the config.
        model: a run folder or a bundle folder; None for the shipped bundle.
        options: as in ``configs/denoise.yaml``.

    Returns:
        The summary: the numbers of series denoised and already done, and what was refused, skipped or damaged, with
        reasons.

    Raises:
        ConfigError: an option is unknown or out of range, or ``out`` holds results of other options.
        SeriesError: no series was found, or some could not be denoised; the rest are denoised.
        BundleError: the path contains no model.
        OutputError: ``out`` cannot be written.
    """
    folder = run_config(_from_options("denoise", {"input": source, "out": out, "model": model, **options}))
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


def evaluate(
    low: HUArray,
    full: HUArray,
    denoised: HUArray | Mapping[str, HUArray],
    protocols: ProtocolName | Sequence[ProtocolName] = "hu2000",
    patients: Sequence[str] = (),
) -> "Evaluation":
    """Score denoised slices, and the low dose as method ``input``, against full dose.

    Args:
        low: the low dose in HU, (H, W) or (S, H, W).
        full: the full dose of the same slices.
        denoised: one result, or several by name.
        protocols: one or more protocols, see `ctcycle.metrics.protocols`.
        patients: the patient of each slice; confidence intervals are over patients. Default: a single patient.

    Raises:
        SeriesError: the shapes differ, values are not finite, or the numbers of patients and slices differ.
        ConfigError: a protocol is unknown, or a result is named ``input`` or ``full``.
    """
    from ctcycle.evaluation.pairs import HUPair
    from ctcycle.evaluation.results import summarise
    from ctcycle.evaluation.scoring import evaluate_pair

    names = _protocols(protocols)
    stacks = _stacks(low, full, denoised if isinstance(denoised, Mapping) else {"denoised": denoised})
    truth = stacks.pop("full")
    owners = patients or ["array"] * len(truth)
    if len(owners) != len(truth):
        raise SeriesError(f"patients: got {len(owners)} for {len(truth)} slices; give one per slice")
    records = []
    for number, (patient, hu) in enumerate(zip(owners, truth, strict=True)):
        results = {name: stack[number] for name, stack in stacks.items()}
        filters = {name: lambda _low, result=result: result for name, result in results.items()}
        records += evaluate_pair(HUPair(patient, "array", number, results["input"], hu), filters, names)
    return summarise(records)


def evaluate_manifest(
    manifest: str | Path,
    methods: Mapping[str, str | Path | Mapping[str, object]],
    out: str | Path = "runs/evaluate",
    **options: object,
) -> "Evaluation":
    """Score models on the pairs of a split of a manifest, with tables and figures in ``out``.

    Args:
        manifest: a CSV file written by the task `scan`.
        methods: run folders or bundle folders, by their names in the tables; or mappings as in the config.
        out: the output folder.
        options: as in ``configs/evaluate.yaml``, for example ``split="val"``.

    Raises:
        ConfigError: an option is unknown or invalid, or ``out`` holds results of other options.
        ManifestError: the split has no pairs, or the slices of a pair do not show the same anatomy.
        BundleError: a folder contains no model.
        SeriesError: a series cannot be decoded or scored.
        OutputError: ``out`` cannot be written.
    """
    from ctcycle.evaluation.results import read_evaluation

    loaded = _from_options("evaluate", {"manifest": manifest, "methods": dict(methods), "out": out, **options})
    return read_evaluation(run_config(loaded))


def load_config(name: str | Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read and validate a config.

    Args:
        name: the name of a shipped config, such as ``report2024/cyclegan``, or a YAML file.
        overrides: a list of ``key.sub=value``; the value is YAML.

    Raises:
        ConfigError: the config is invalid; one line per error.
    """
    return loading.load_config(find_config(name), overrides)


def run_config(config: LoadedConfig) -> Path:
    """Run the task of a config, as ``ctcycle run`` does, and return its run folder.

    Raises:
        CtcycleError: see `ctcycle.errors` for the kinds.
    """
    from ctcycle.tasks.running import run

    run(config)
    return config.config.out


def _from_options(name: str, options: Mapping[str, object]) -> LoadedConfig:
    """Load a shipped config with the given keys set."""
    overrides = [f"{key}={json.dumps(value, default=_plain, ensure_ascii=False)}" for key, value in options.items()]
    try:
        return load_config(name, overrides)
    except ConfigError as error:
        raise ConfigError(str(error).replace("command line: ", "")) from error


def _plain(value: Any) -> object:
    """Convert a numpy number or a path to a type that JSON supports."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _checked(name: str, image: HUArray) -> NDArray[np.float32]:
    array = np.asarray(image)
    if array.ndim not in {2, 3} or not array.size or array.dtype.kind not in "iuf":
        raise SeriesError(
            f"{name}: got {array.dtype} of shape {array.shape}; give numbers of shape (H, W) or (S, H, W) in HU"
        )
    hu = array.astype(np.float32)
    if bad := int(np.sum(~np.isfinite(hu))):
        raise SeriesError(f"{name}: {bad} values are not finite; repair or remove these slices")
    return hu


def _sample(hu: NDArray[np.float32], info: SeriesInfo | None) -> Series:
    """Return slices spread evenly over a series, or over an array, whose geometry is unknown."""
    slices = hu.reshape(-1, *hu.shape[-2:])
    picked = np.unique(np.linspace(0, len(slices) - 1, min(_SAMPLE, len(slices))).round().astype(int))
    rows, columns = slices.shape[1:]
    of_array = SeriesInfo("npy", Path("image"), (), "", (len(slices), rows, columns), (0.0, 0.0, 0.0), (), "", 0.0, "")
    return Series(info or of_array, slices[picked], None)


def _warn(model: "Model", sample: Series, *, strength_is_given: bool) -> None:
    from ctcycle.inference.fingerprint import series_warnings

    for sentence in series_warnings(sample, model.fingerprint, strength_is_given=strength_is_given):
        _log.warning("image: %s", sentence)


def _with_auto_strength(denoiser: "Denoiser", sample: Series) -> "Denoiser":
    from ctcycle.inference.auto_strength import choose_strength

    choice = choose_strength(denoiser, sample)
    _log.info("image: %s", choice.sentence())
    return denoiser.with_strength(choice.strength)


def _protocols(wanted: ProtocolName | Sequence[ProtocolName]) -> list[ProtocolName]:
    names: list[ProtocolName] = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in PROTOCOL_NAMES:
            hint = near(name, PROTOCOL_NAMES) or f"; the protocols are {', '.join(PROTOCOL_NAMES)}"
            raise ConfigError(f"unknown protocol '{name}'{hint}")
    return names


def _stacks(low: HUArray, full: HUArray, denoised: Mapping[str, HUArray]) -> dict[str, NDArray[np.float32]]:
    """Return all arrays as (S, H, W) by name: ``input`` first, ``full`` last."""
    if taken := denoised.keys() & {"input", "full"}:
        raise ConfigError(f"denoised: '{min(taken)}' is a reserved name; choose another name")
    arrays = {"input": low, **denoised, "full": full}
    stacks = {name: _checked(name, array) for name, array in arrays.items()}
    for name, stack in stacks.items():
        if stack.shape != stacks["full"].shape:
            raise SeriesError(f"{name}: has shape {stack.shape}, full dose has {stacks['full'].shape}; they must match")
    return {name: stack.reshape(-1, *stack.shape[-2:]) for name, stack in stacks.items()}
