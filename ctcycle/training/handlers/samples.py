"""Figures of validation slices during training."""

from collections.abc import Callable
from pathlib import Path

from ignite.engine import Engine

from ctcycle.inference.denoiser import Denoiser
from ctcycle.report.figures import PanelRow, slice_panels
from ctcycle.training.handlers.events import TrainingEvents, register
from ctcycle.training.validation import ValidationPairs


class Samples:
    """Draws the first and the middle validation slice after each validation: low dose, denoised and full dose.

    Args:
        pairs: the validation slices.
        folder: where to write the figures, ``validation_0001.png`` etc., numbered by epoch.
        drawn: called with the path of each figure.
    """

    def __init__(self, pairs: ValidationPairs, folder: Path, drawn: Callable[[Path], None]) -> None:
        self.pairs, self.folder, self.drawn = pairs, folder, drawn

    def attach(self, engine: Engine) -> None:
        """Draw after every validation of ``engine``."""
        register(engine)
        engine.add_event_handler(TrainingEvents.VALIDATED, self)

    def __call__(self, engine: Engine) -> None:
        """Draw the slices with the denoiser that was just validated."""
        path = self.folder / f"validation_{engine.state.epoch:04d}.png"
        slice_panels(path, [self._row(number, engine.state.denoiser) for number in sorted({0, len(self.pairs) // 2})])  # type: ignore[attr-defined]
        self.drawn(path)

    def _row(self, number: int, denoiser: Denoiser) -> PanelRow:
        low, full = self.pairs[number]
        images = {"low dose": low, "denoised": denoiser(low), "full dose": full}
        return PanelRow(f"validation slice {number}", images)
