"""Low-dose CT denoising without paired training data.

The names below are the Python API. Each is imported on first use, so that ``import ctcycle`` is instant.
Type checkers find them in `__init__.pyi`.
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = [
    "CtcycleError",
    "Denoiser",
    "Evaluation",
    "HUWindow",
    "LoadedConfig",
    "Model",
    "Series",
    "SeriesInfo",
    "__version__",
    "denoise",
    "denoise_folder",
    "evaluate",
    "evaluate_manifest",
    "find_series",
    "format_table",
    "load_config",
    "load_model",
    "read_series",
    "run_config",
]

_HOMES = {
    "CtcycleError": "ctcycle.errors",
    "Denoiser": "ctcycle.inference.denoiser",
    "Evaluation": "ctcycle.evaluation.results",
    "HUWindow": "ctcycle.ct.hounsfield",
    "LoadedConfig": "ctcycle.config.loading",
    "Model": "ctcycle.runs.models",
    "Series": "ctcycle.ct.series",
    "SeriesInfo": "ctcycle.ct.series",
    "format_table": "ctcycle.evaluation.tables",
}
"""The modules of names that are not defined in `ctcycle.api`."""


def __dir__() -> list[str]:
    """Return the public names, whether imported yet or not."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import a public name on its first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "ctcycle.api")), name)
    globals()[name] = value
    return value
