import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ignite.engine import Engine

from ctcycle.report.figures import PanelRow
from ctcycle.training.handlers.events import TrainingEvents
from ctcycle.training.handlers.samples import Samples, WatchSamples
from ctcycle.training.monitor.validation import ValidationPairs


@pytest.mark.parametrize("count", [1, 3])
def test_the_picture_is_named_by_its_epoch_and_handed_on(count: int, tmp_path: Path) -> None:
    images = tuple(np.full((16, 16), 10 * number, np.int16) for number in range(count))
    engine, drawn = Engine(lambda *_: None), list[tuple[Path, int]]()
    Samples(ValidationPairs(images, images), tmp_path / "a", lambda *one: drawn.append(one)).attach(engine)
    engine.state.epoch, engine.state.denoiser = 7, lambda low: low + 1
    engine.fire_event(TrainingEvents.VALIDATED)
    assert drawn == [(tmp_path / "a" / "validation_0007.png", 7)]
    assert drawn[0][0].read_bytes().startswith(b"\x89PNG")


def test_figures_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctcycle.report import figures

    alive: list[weakref.ref[object]] = []

    class Watched(figures.Figure):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            alive.append(weakref.ref(self))

    monkeypatch.setattr(figures, "Figure", Watched)
    images = (np.zeros((8, 8), np.int16),)
    engine = Engine(lambda *_: None)
    Samples(ValidationPairs(images, images), tmp_path, lambda *_: None).attach(engine)
    gc.disable()  # as in a long training, in which Python hardly ever looks for cycles
    try:
        for epoch in (1, 2):
            engine.state.epoch, engine.state.denoiser = epoch, lambda low: low
            engine.fire_event(TrainingEvents.VALIDATED)
    finally:
        gc.enable()
    assert [figure() for figure in alive] == [None, None]


@pytest.mark.slow
def test_without_pairs_low_dose_slices_are_drawn_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: dict[str, list[PanelRow]] = {}

    def keep(path: Path, found: list[PanelRow], reference: str) -> None:
        rows[path.name] = found
        assert reference == "low dose"

    monkeypatch.setattr("ctcycle.training.handlers.samples.slice_panels", keep)
    engine, drawn = Engine(lambda *_: None), list[int]()
    denoiser: Any = lambda low: low - 2  # noqa: E731
    slices = [np.full((4, 4), 10.0 * number) for number in range(2)]
    WatchSamples(slices, lambda: denoiser, tmp_path, lambda _path, epoch: drawn.append(epoch)).attach(engine)
    engine.state.max_epochs = 45
    for epoch in range(1, 46):
        engine.state.epoch = epoch
        engine.fire_event(TrainingEvents.MEASURED)
    assert drawn == [*range(2, 45, 2), 45]
    shown = [{title: float(image[0, 0]) for title, image in row.images.items()} for row in rows["watch_0045.png"]]
    assert shown == [{"denoised": -2.0, "low dose": 0.0}, {"denoised": 8.0, "low dose": 10.0}]


def test_it_shows_the_first_and_the_middle_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[PanelRow] = []
    monkeypatch.setattr("ctcycle.training.handlers.samples.slice_panels", lambda _path, found: rows.extend(found))
    images = tuple(np.full((4, 4), number, np.int16) for number in range(5))
    engine = Engine(lambda *_: None)
    Samples(ValidationPairs(images, images), tmp_path, lambda *_: None).attach(engine)
    engine.state.epoch, engine.state.denoiser = 1, lambda low: low - 0.5
    engine.fire_event(TrainingEvents.VALIDATED)
    shown = [{title: float(image[0, 0]) for title, image in row.images.items()} for row in rows]
    assert shown == [
        {"low dose": 0.0, "denoised": -0.5, "full dose": 0.0},
        {"low dose": 2.0, "denoised": 1.5, "full dose": 2.0},
    ]
