"""Figures of validation slices during training; without pairs, of low-dose training slices."""

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine
from numpy.typing import NDArray

from ctcycle.inference.denoiser import Denoiser
from ctcycle.report.figures import PanelRow, slice_panels
from ctcycle.training.handlers.events import TrainingEvents, register
from ctcycle.training.monitor.validation import ValidationPairs

_PICTURES = 20


class WatchSamples:
    """Draws fixed low-dose slices after measurements without pairs: denoised, low dose, and what was removed.

    At most about 20 pictures are drawn in a training, and one after its last epoch.

    Args:
        slices: (H, W) each, in HU; if there are none, nothing is drawn.
        current: returns the denoiser.
        folder: where to write the figures, ``watch_0001.png`` etc., numbered by epoch.
        drawn: called with the path of each figure and its epoch.
    """

    def __init__(
        self,
        slices: Sequence[NDArray[np.float64]],
        current: Callable[[], Denoiser],
        folder: Path,
        drawn: Callable[[Path, int], None],
    ) -> None:
        self.slices, self.current, self.folder, self.drawn = slices, current, folder, drawn

    def attach(self, engine: Engine) -> None:
        """Draw after measurements of ``engine``."""
        register(engine)
        if self.slices:
            engine.add_event_handler(TrainingEvents.MEASURED, self)

    def __call__(self, engine: Engine) -> None:
        """Draw the slices if this is due."""
        epoch, epochs = engine.state.epoch, engine.state.max_epochs or 1
        if epoch % max(1, epochs // _PICTURES) and epoch != epochs:
            return
        path, denoiser = self.folder / f"watch_{epoch:04d}.png", self.current()
        rows = [_unpaired_row(number, denoiser, low) for number, low in enumerate(self.slices)]
        slice_panels(path, rows, reference="low dose")
        gc.collect()  # see `Samples`
        self.drawn(path, epoch)


def _unpaired_row(number: int, denoiser: Denoiser, low: NDArray[np.float64]) -> PanelRow:
    hu = low.astype(np.float32)
    return PanelRow(f"low-dose slice {number}", {"denoised": denoiser(hu), "low dose": hu})


class Samples:
    """Draws the first and the middle validation slice after each validation: low dose, denoised and full dose.

    Args:
        pairs: the validation slices.
        folder: where to write the figures, ``validation_0001.png`` etc., numbered by epoch.
        drawn: called with the path of each figure and its epoch.
    """

    def __init__(self, pairs: ValidationPairs, folder: Path, drawn: Callable[[Path, int], None]) -> None:
        self.pairs, self.folder, self.drawn = pairs, folder, drawn

    def attach(self, engine: Engine) -> None:
        """Draw after every validation of ``engine``."""
        register(engine)
        engine.add_event_handler(TrainingEvents.VALIDATED, self)

    def __call__(self, engine: Engine) -> None:
        """Draw the slices with the denoiser that was just validated."""
        path = self.folder / f"validation_{engine.state.epoch:04d}.png"
        slice_panels(path, [self._row(number, engine.state.denoiser) for number in sorted({0, len(self.pairs) // 2})])  # type: ignore[attr-defined]
        gc.collect()  # a figure is a web of references, and Python looks for such ever more rarely in a long training
        self.drawn(path, engine.state.epoch)

    def _row(self, number: int, denoiser: Denoiser) -> PanelRow:
        low, full = self.pairs[number]
        images = {"low dose": low, "denoised": denoiser(low), "full dose": full}
        return PanelRow(f"validation slice {number}", images)
