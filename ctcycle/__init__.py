"""Low-dose CT denoising without paired training data.

The names below are all that a notebook needs. Each is imported on first use, so that ``import ctcycle`` is instant.
"""

TYPE_CHECKING = False  # type checkers take it for true; importing the constant would be an import
if TYPE_CHECKING:
    from ctcycle.api import (
        denoise,
        denoise_folder,
        evaluate,
        evaluate_manifest,
        find_series,
        load_config,
        load_model,
        read_series,
        run_config,
    )
    from ctcycle.config.loading import LoadedConfig
    from ctcycle.ct.hounsfield import HUWindow
    from ctcycle.ct.series import Series, SeriesInfo
    from ctcycle.errors import CtcycleError
    from ctcycle.evaluation.results import Evaluation
    from ctcycle.evaluation.tables import format_table
    from ctcycle.inference.denoiser import Denoiser
    from ctcycle.runs.models import Model

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
"""Where the names are defined that are not in `ctcycle.api`."""


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})


if not TYPE_CHECKING:  # a checker that saw it would let every misspelt name pass

    def __getattr__(name: str) -> object:
        """Import a public name on its first use (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(_HOMES.get(name, "ctcycle.api")), name)
        globals()[name] = value
        return value
