from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from ignite.engine import Engine, Events

from ctcycle.training.handlers.events import TrainingEvents
from ctcycle.training.handlers.validation import ValidationHandler
from ctcycle.training.monitor.validation import ValidationPairs

IMAGES = tuple(np.zeros((2, 8, 8), np.int16))
PAIRS = ValidationPairs(IMAGES, IMAGES)


def evaluator(seen: list[object]) -> Engine:
    """An evaluator whose score is the number of slices so far."""
    engine = Engine(lambda _, images: seen.append(images))

    @engine.on(Events.STARTED)
    def _start(engine: Engine) -> None:
        engine.state.denoiser = "denoiser"

    @engine.on(Events.COMPLETED)
    def _score(engine: Engine) -> None:
        engine.state.metrics["scores"] = {"psnr": float(len(seen))}

    return engine


def epochs_validated(handler: ValidationHandler, epochs: int) -> list[tuple[int, dict[str, float]]]:
    trainer, found = Engine(lambda *_: None), []
    handler.attach(trainer)
    trainer.add_event_handler(
        TrainingEvents.VALIDATED, lambda engine: found.append((engine.state.epoch, engine.state.scores))
    )
    trainer.run([0] * 2, max_epochs=epochs)
    return found


def test_every_few_epochs_and_the_last_one() -> None:
    seen: list[object] = []
    handler = ValidationHandler(evaluator(seen), PAIRS, 2)
    assert epochs_validated(handler, 5) == [
        (2, {"val/psnr": 2.0}),
        (4, {"val/psnr": 4.0}),
        (5, {"val/psnr": 6.0}),
    ]
    assert not handler.due


def test_without_pairs_nothing_happens() -> None:
    seen: list[object] = []
    assert epochs_validated(ValidationHandler(evaluator(seen), ValidationPairs(), 1), 3) == []
    assert seen == []


def test_one_that_is_broken_off_stays_due() -> None:
    @contextmanager
    def interrupted() -> Iterator[None]:
        raise KeyboardInterrupt
        yield

    handler = ValidationHandler(evaluator([]), PAIRS, 1, interrupted)
    with pytest.raises(KeyboardInterrupt):
        epochs_validated(handler, 1)
    assert handler.due
    again = ValidationHandler(evaluator([]), PAIRS, 1)
    again.load_state_dict(handler.state_dict())
    assert again.due
    epochs_validated(again, 1)
    assert not again.due


def test_an_interval_is_at_least_one_epoch() -> None:
    with pytest.raises(ValueError, match="every is 0; it must be at least 1"):
        ValidationHandler(evaluator([]), PAIRS, 0)
