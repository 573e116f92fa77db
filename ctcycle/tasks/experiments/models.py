"""Replaces MLflow URIs of models in a config by local folders."""

from pathlib import Path
from typing import TypeVar

from ctcycle.config.schema import Bench, Bundle, Denoise, Evaluate
from ctcycle.config.sections import Task

_SCHEMES = ("models:/", "runs:/")
_ConfigT = TypeVar("_ConfigT", bound=Task)


def with_local_models(config: _ConfigT) -> _ConfigT:
    """Return the config with local folders in place of URIs such as ``models:/NAME@ALIAS`` and ``runs:/RUN_ID``.

    Raises:
        BundleError: a URI has another form, or MLflow has no such model of ctcycle.
    """
    uris = [path for path in _models(config) if str(path).startswith(_SCHEMES)]
    if not uris:
        return config  # without importing torch
    from ctcycle.runs.mlflow_store.model_uris import model_folder, run_folder

    if isinstance(config, Bundle):
        return config.model_copy(update={"run": run_folder(config.run, config.out)})
    local = {path: model_folder(path, config.out) for path in uris}
    if isinstance(config, Denoise):
        return config.model_copy(update={"model": local[uris[0]]})
    if isinstance(config, Bench):
        known = {name: local.get(path, path) for name, path in config.methods.items()}
        return config.model_copy(update={"methods": known})
    sources = config.sources if isinstance(config, Evaluate) else {}
    replaced = {
        name: source.model_copy(update={"run": local[source.run]})
        for name, source in sources.items()
        if source.run in local
    }
    return config.model_copy(update={"methods": {**sources, **replaced}})


def _models(config: Task) -> list[Path]:
    """Return the models that a config names."""
    if isinstance(config, Denoise):
        return [] if config.model is None else [config.model]
    if isinstance(config, Bundle):
        return [config.run]
    if isinstance(config, Bench):
        return list(config.methods.values())
    if isinstance(config, Evaluate):
        return [source.run for source in config.sources.values() if source.run is not None]
    return []
