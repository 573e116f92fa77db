"""Pictures of validation slices."""

from collections.abc import Callable
from pathlib import Path

from ignite.engine import Engine

from ctcycle.inference.denoiser import Denoiser
from ctcycle.report.figures import PanelRow, slice_panels
from ctcycle.training.handlers.events import TrainingEvents, register
from ctcycle.training.validation import ValidationPairs


class Samples:
    """Draws low dose, denoised and full dose of the first and the middle validation slice after each validation.

    Args:
        pairs: the validation slices.
        folder: for ``validation_0001.png`` and so on, by epoch.
        drawn: gets the path of each picture.
    """

    def __init__(self, pairs: ValidationPairs, folder: Path, drawn: Callable[[Path], None]) -> None:
        self.pairs, self.folder, self.drawn = pairs, folder, drawn

    def attach(self, engine: Engine) -> None:
        """Draw after every validation of ``engine``."""
        register(engine)
        engine.add_event_handler(TrainingEvents.VALIDATED, self)

    def __call__(self, engine: Engine) -> None:
        """Draw the denoiser that was just validated."""
        path = self.folder / f"validation_{engine.state.epoch:04d}.png"
        slice_panels(path, [self._row(number, engine.state.denoiser) for number in sorted({0, len(self.pairs) // 2})])  # type: ignore[attr-defined]
        self.drawn(path)

    def _row(self, number: int, denoiser: Denoiser) -> PanelRow:
        low, full = self.pairs[number]
        images = {"low dose": low, "denoised": denoiser(low), "full dose": full}
        return PanelRow(f"validation slice {number}", images)
