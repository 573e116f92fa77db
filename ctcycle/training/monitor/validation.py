"""Validation: an evaluator engine that runs the denoiser on whole slices of held-out patients."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from numpy.typing import NDArray

from ctcycle.data.slices import HUSlice, StoredSlices
from ctcycle.errors import DivergedError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.metrics import ProtocolName
from ctcycle.metrics.protocols import PROTOCOLS, score
from ctcycle.runs import ranks

Images = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Two slices (H, W) of the same anatomy in HU."""


@dataclass(frozen=True)
class ValidationPairs:
    """Slices at low and full dose, paired by index; items are float32 in HU.

    Attributes:
        low: low-dose slices (H, W), HU.
        full: the same slices at full dose.
    """

    low: Sequence[HUSlice] = ()
    full: Sequence[HUSlice] = ()

    @classmethod
    def spread(cls, low: StoredSlices, full: StoredSlices, limit: int) -> "ValidationPairs":
        """Return at most ``limit`` pairs, evenly spaced."""
        chosen = np.unique(np.linspace(0, len(low) - 1, min(limit, len(low))).astype(int))
        return cls(tuple(low[i] for i in chosen), tuple(full[i] for i in chosen))

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, number: int) -> Images:
        return self.low[number].astype(np.float32), self.full[number].astype(np.float32)

    def __iter__(self) -> Iterator[Images]:
        return (self[number] for number in range(len(self)))


class HUScores(Metric):
    """An Ignite metric of mean PSNR (dB), SSIM and RMSE (HU) over slices, under a protocol.

    An update takes (denoised, full dose), each (H, W) in HU. The result maps the three names to their means.

    Args:
        protocol: name of the metric protocol.
    """

    NAMES: ClassVar = ("psnr", "ssim", "rmse_hu")
    _state_dict_all_req_keys = ("_sums", "_count")

    def __init__(self, protocol: ProtocolName) -> None:
        self.protocol = PROTOCOLS[protocol]
        super().__init__()

    @reinit__is_reduced
    def reset(self) -> None:
        """Discard all scores."""
        self._sums = torch.zeros(len(self.NAMES), dtype=torch.float64)
        self._count = 0

    @reinit__is_reduced
    def update(self, output: Images | None) -> None:
        """Add the scores of one slice; None, one that another rank scores, adds nothing.

        Raises:
            DivergedError: the denoised slice is not finite.
        """
        if output is None:
            return
        denoised, full = output
        if not np.isfinite(denoised).all():
            raise DivergedError(
                "validation: the denoiser's output is not finite; lower optimizer.lr (the last checkpoint is kept)"
            )
        found = score(self.protocol, denoised, full)
        self._sums += torch.tensor([getattr(found, name) for name in self.NAMES], dtype=torch.float64)
        self._count += 1

    @sync_all_reduce("_sums", "_count")
    def compute(self) -> dict[str, float]:
        """Return the mean of each score, by name."""
        return dict(zip(self.NAMES, (self._sums / self._count).tolist(), strict=True))


def make_evaluator(current: Callable[[], Denoiser], protocol: ProtocolName) -> Engine:
    """Return an evaluator engine for `ValidationPairs`; it stores `HUScores` as the metric "scores".

    Ranks share the slices; the scores are those of all slices, on all ranks.

    Args:
        current: called at the start of each run for the denoiser, which is kept in ``state.denoiser``.
        protocol: name of the metric protocol.
    """

    def denoise(engine: Engine, images: Images) -> Images | None:
        if not ranks.is_mine(engine.state.iteration - 1):
            return None
        low, full = images
        return engine.state.denoiser(low), full  # type: ignore[attr-defined]

    def take(engine: Engine) -> None:
        engine.state.denoiser = current()  # type: ignore[attr-defined]

    evaluator = Engine(denoise)
    evaluator.add_event_handler(Events.STARTED, take)
    HUScores(protocol).attach(evaluator, "scores")
    return evaluator
