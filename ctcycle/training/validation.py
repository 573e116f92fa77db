"""Validation while training: the denoiser on whole slices of patients that are not trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctcycle.data.slices import HUSlice, StoredSlices
from ctcycle.errors import DivergedError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.metrics import ProtocolName
from ctcycle.metrics.protocols import PROTOCOLS, Protocol, Scores, score
from ctcycle.report.figures import PanelRow, slice_panels


@dataclass(frozen=True)
class Validator:
    """Scores a denoiser on pairs of slices.

    Attributes:
        low: low-dose slices (H, W), HU.
        full: their full-dose twins.
        protocol: the convention of the scores.
    """

    low: tuple[HUSlice, ...]
    full: tuple[HUSlice, ...]
    protocol: Protocol

    @classmethod
    def of(cls, low: StoredSlices, full: StoredSlices, most: int, protocol: ProtocolName) -> "Validator":
        """Takes at most ``most`` pairs, evenly spread."""
        chosen = np.unique(np.linspace(0, len(low) - 1, min(most, len(low))).astype(int))
        return cls(tuple(low[i] for i in chosen), tuple(full[i] for i in chosen), PROTOCOLS[protocol])

    def __call__(self, denoiser: Denoiser) -> dict[str, float]:
        """Means over the slices, named as they are logged: ``val/psnr`` (dB), ``val/ssim``, ``val/rmse_hu``.

        Raises:
            DivergedError: the denoiser's output is not finite.
        """
        found = [self._score(denoiser, low, full) for low, full in zip(self.low, self.full, strict=True)]
        names = ("psnr", "ssim", "rmse_hu")
        return {f"val/{name}": float(np.mean([getattr(one, name) for one in found])) for name in names}

    def _score(self, denoiser: Denoiser, low: HUSlice, full: HUSlice) -> Scores:
        output = denoiser(low.astype(np.float32))
        if not np.isfinite(output).all():
            raise DivergedError(
                "validation: the denoiser's output is not finite; the last checkpoint is kept, lower optimizer.lr"
            )
        return score(self.protocol, output, full.astype(np.float32))

    def draw(self, denoiser: Denoiser, path: Path) -> None:
        """Draws low dose, denoised and full dose of the first and the middle slice to a PNG."""
        samples = []
        for number in sorted({0, len(self.low) // 2}):
            low, full = (image[number].astype(np.float32) for image in (self.low, self.full))
            images = {"low dose": low, "denoised": denoiser(low), "full dose": full}
            samples.append(PanelRow(f"validation slice {number}", images))
        slice_panels(path, samples)
