"""Write a bundle as an MLflow model: a folder that MLflow loads and serves where ctcycle is not installed."""

import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ctcycle.atomic import new_folder
from ctcycle.bundle.runtime.speed import phantom
from ctcycle.errors import BundleError
from ctcycle.runs.bundle_folder import is_bundle, read_bundle_facts

LOADER = "scripts.bundle.runtime.served"
"""The module that MLflow loads the model with, from the bundle's own code."""

_NEEDS = ("mlflow", "torch", "monai", "numpy", "pydicom", "nibabel")
_EXAMPLE_PX = 32


def write_mlflow_model(bundle: Path, folder: Path, *, replace: bool = False) -> None:
    """Write a bundle as an MLflow model; the whole bundle is in its ``data`` folder.

    The model takes slices (S, H, W) in HU as float32 and returns the denoised ones; its parameters are ``strength`` and
    ``average_flips``. It holds no pickled objects.

    Args:
        bundle: a bundle folder exported by this version.
        folder: the folder to create.
        replace: replace an existing folder.

    Raises:
        BundleError: the folder is not a bundle, or one of an earlier version.
        OutputError: ``folder`` cannot be written.
    """
    if not is_bundle(bundle):
        raise BundleError(f"{bundle}: not a bundle folder (configs/metadata.json is missing); export a bundle first")
    facts = read_bundle_facts(bundle)
    if not bundle.joinpath(*LOADER.split(".")).with_suffix(".py").is_file():
        raise BundleError(f"{bundle}: exported by an earlier version of ctcycle, without {LOADER}; export it again")
    with new_folder(folder, may_replace=replace) as new, TemporaryDirectory() as temporary:
        made, data = Path(temporary) / "model", Path(temporary) / bundle.resolve().name
        shutil.copytree(bundle, data, ignore=shutil.ignore_patterns("scripts", ".ctcycle", "__pycache__"))
        _save(made, data, bundle / "scripts", average_flips=facts.average_flips)
        shutil.copytree(made, new, dirs_exist_ok=True)


def _save(folder: Path, data: Path, code: Path, *, average_flips: bool) -> None:
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    stack = TensorSpec(np.dtype(np.float32), (-1, -1, -1), name=None)
    params = ParamSchema([ParamSpec("strength", "double", 1.0), ParamSpec("average_flips", "boolean", average_flips)])
    pyfunc.save_model(
        folder,
        loader_module=LOADER,
        data_path=str(data),
        code_paths=[str(code)],
        signature=ModelSignature(Schema([stack]), Schema([stack]), params),
        input_example=phantom(1, _EXAMPLE_PX),
        pip_requirements=requirements(),
    )
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)


def requirements() -> list[str]:
    """Return what the model needs to run, as pip requirements with the versions that are installed here."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in _NEEDS]
