"""Methods under evaluation: whatever turns low-dose slices into slices to be judged."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ctcycle.errors import SeriesError
from ctcycle.evaluation.pairs import HUImage, LowDoseSlice

HUFilter = Callable[[HUImage], HUImage]
"""Denoises one slice (H, W) in HU; safe to call from several threads."""

Kind = Literal["input", "constant", "filter", "run", "bundle", "outputs"]


@dataclass(frozen=True)
class Method:
    """A method under evaluation.

    Attributes:
        name: its name in the results.
        title: its name for readers, as text.
        kind: what it is.
        digest: a hash of all that determines its outputs: weights, or rule and strength, or the files of outputs.
        denoise: applies it to any slice; None for a folder of outputs, which cannot be asked for more.
        for_slice: the output of a slice of the evaluation where that is not ``denoise(low_hu)``: outputs read from
            files, or a filter whose strength depends on the patient.
        notes: sentences to show with every table, such as the strength that was chosen and on whom.
        weights: SHA-256 of the weights file of a run or bundle; otherwise empty.
    """

    name: str
    title: str
    kind: Kind
    digest: str
    denoise: HUFilter | None
    for_slice: Callable[[LowDoseSlice], HUImage] | None = None
    notes: tuple[str, ...] = ()
    weights: str = ""

    def output(self, item: LowDoseSlice) -> HUImage:
        """Return the method's output (H, W) for a slice, in HU.

        Raises:
            SeriesError: the output has another shape than the slice, or values that are not finite.
        """
        if self.for_slice is not None:
            output = self.for_slice(item)
        elif self.denoise is not None:
            output = self.denoise(item.low_hu)
        else:
            raise SeriesError(f"method {self.name}: has neither a filter nor outputs; check how it was made")
        return _checked(output, item, self.name)


def digest_of(*parts: object) -> str:
    """Return the SHA-256 of plain values, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _checked(output: HUImage, item: LowDoseSlice, method: str) -> HUImage:
    where = f"{item.where}, method {method}"
    if output.shape != item.low_hu.shape:
        raise SeriesError(
            f"{where}: output of shape {output.shape}, but the slice is {item.low_hu.shape}; a denoiser must keep the "
            "shape"
        )
    if bad := int(np.sum(~np.isfinite(output))):
        raise SeriesError(f"{where}: {bad} output values are not finite; check the slice and the model")
    return output
