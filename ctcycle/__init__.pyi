# The public names for type checkers; at run time `__init__.py` imports each on first use.

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

__version__: str
