# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The denoiser of a bundle as MLflow's generic Python function: slices in HU in, denoised slices in HU out.

MLflow imports this module from the code that travels with the model, and calls `_load_pyfunc`. Nothing is unpickled,
and neither MLflow nor ctcycle is imported here.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scripts.bundle.runtime.app import SlicesOrTiles
from scripts.bundle.runtime.speed import read_model
from scripts.errors import SeriesError
from scripts.inference.denoiser import Denoiser


class HUFunction:
    """Denoises stacks of slices in HU.

    Args:
        denoisers: the denoiser with one pass, and the one that averages over four flips.
        average_flips: which of them is used by default.
    """

    def __init__(self, denoisers: Mapping[bool, Denoiser], *, average_flips: bool) -> None:
        self._denoisers, self._average_flips = denoisers, average_flips

    def predict(self, model_input: ArrayLike, params: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
        """Return the denoised slices in HU, float32 of the same shape.

        Args:
            model_input: (S, H, W) or (H, W), in HU.
            params: ``strength`` from 0 to 2, and ``average_flips``; missing ones have the bundle's defaults.

        Raises:
            SeriesError: the array has another shape, or values that are not finite.
            ConfigError: the strength is out of range.
        """
        given = dict(params or {})
        hu = checked_slices(model_input)
        denoiser = self._denoisers[bool(given.get("average_flips", self._average_flips))]
        return denoiser.with_strength(float(given.get("strength", 1.0)))(hu)


def checked_slices(values: ArrayLike) -> NDArray[np.float32]:
    """Return one or more slices as float32.

    Raises:
        SeriesError: they are no array of 2 or 3 dimensions, are empty, or are not finite.
    """
    try:
        hu = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise SeriesError(f"input: not an array of numbers ({error}); give slices (S, H, W) in HU") from error
    if hu.ndim not in {2, 3} or not hu.size:
        raise SeriesError(f"input: has shape {hu.shape}; give slices (S, H, W) in HU")
    if not np.isfinite(hu).all():
        raise SeriesError("input: has values that are not finite; give slices in HU")
    return hu


def _load_pyfunc(data_path: str) -> HUFunction:
    """Load the denoiser of the bundle in a folder; MLflow calls this by its name.

    Raises:
        BundleError: the weights are missing, damaged, or do not fit the network.
    """
    bundle = Path(data_path)
    config = json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
    model = replace(read_model(bundle), device="auto")
    flips = {average: replace(model, inferer=SlicesOrTiles(0, average)).denoiser() for average in (False, True)}
    return HUFunction(flips, average_flips=config.get("average_flips") is True)
