from pathlib import Path

import numpy as np
import pytest
from ignite.engine import Engine

from ctcycle.report.figures import PanelRow
from ctcycle.training.handlers.events import TrainingEvents
from ctcycle.training.handlers.samples import Samples
from ctcycle.training.validation import ValidationPairs


@pytest.mark.parametrize("count", [1, 3])
def test_the_picture_is_named_by_its_epoch_and_handed_on(count: int, tmp_path: Path) -> None:
    images = tuple(np.full((16, 16), 10 * number, np.int16) for number in range(count))
    engine, drawn = Engine(lambda *_: None), []
    Samples(ValidationPairs(images, images), tmp_path / "a", drawn.append).attach(engine)
    engine.state.epoch, engine.state.denoiser = 7, lambda low: low + 1
    engine.fire_event(TrainingEvents.VALIDATED)
    assert drawn == [tmp_path / "a" / "validation_0007.png"]
    assert drawn[0].read_bytes().startswith(b"\x89PNG")


def test_it_shows_the_first_and_the_middle_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[PanelRow] = []
    monkeypatch.setattr("ctcycle.training.handlers.samples.slice_panels", lambda _path, found: rows.extend(found))
    images = tuple(np.full((4, 4), number, np.int16) for number in range(5))
    engine = Engine(lambda *_: None)
    Samples(ValidationPairs(images, images), tmp_path, lambda _: None).attach(engine)
    engine.state.epoch, engine.state.denoiser = 1, lambda low: low - 0.5
    engine.fire_event(TrainingEvents.VALIDATED)
    shown = [{title: float(image[0, 0]) for title, image in row.images.items()} for row in rows]
    assert shown == [
        {"low dose": 0.0, "denoised": -0.5, "full dose": 0.0},
        {"low dose": 2.0, "denoised": 1.5, "full dose": 2.0},
    ]
