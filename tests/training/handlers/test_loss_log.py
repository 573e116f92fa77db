import pytest
import torch
from ignite.engine import Engine
from loss_engine import engine_of

from ctcycle.training.handlers.events import TrainingEvents
from ctcycle.training.handlers.loss_log import LossLog

ROWS = [{"gen": float(i), "disc": float(i * i)} for i in range(7)]
Written = list[tuple[int, dict[str, float]]]


def logged(log: LossLog, engine: Engine) -> Written:
    """Attaches a log, and collects what its event brings."""
    written: Written = []
    log.attach(engine)
    engine.add_event_handler(
        TrainingEvents.LOSSES_AVERAGED,
        lambda engine: written.append((engine.state.iteration, engine.state.loss_means)),
    )
    return written


def test_means_of_every_few_iterations_are_announced() -> None:
    engine = engine_of(ROWS)
    written = logged(LossLog(3), engine)
    engine.run([0] * 7)
    assert written == [
        (3, {"gen": 1.0, "disc": pytest.approx(5 / 3)}),
        (6, {"gen": 4.0, "disc": pytest.approx(50 / 3)}),
    ]


def test_a_mean_that_was_begun_survives_a_restart() -> None:
    written: Written = []
    state: dict[str, object] = {}
    for start, stop in ((0, 4), (4, 7)):
        log, engine = LossLog(5), engine_of(ROWS)
        if state:
            log.load_state_dict(state)
            engine.load_state_dict({"iteration": start, "epoch_length": 7, "max_epochs": 1})
        found = logged(log, engine)
        engine.run([0] * (stop - start), max_epochs=1, epoch_length=7 if state else stop)
        written += found
        state = log.state_dict()
    assert written == [(5, {"gen": 2.0, "disc": 6.0})]
    assert state == {"sums": {"gen": 11.0, "disc": 61.0}, "counts": {"gen": 2, "disc": 2}, "count": 2}


def test_what_is_left_at_the_end_is_announced_once() -> None:
    engine = Engine(lambda engine, _: {"a": torch.tensor(float(engine.state.iteration))})
    log = LossLog(3)
    written = logged(log, engine)
    engine.run([0] * 5)
    log.flush(engine)
    log.flush(engine)
    assert written == [(3, {"a": 2.0}), (5, {"a": 4.5})]


def test_sums_of_half_precision_terms_do_not_stall() -> None:
    engine = engine_of([{"gen": 1.0}] * 600, torch.bfloat16)
    written = logged(LossLog(600), engine)
    engine.run([0] * 600)
    assert written == [(600, {"gen": 1.0})]


def test_an_interval_is_at_least_one_iteration() -> None:
    with pytest.raises(ValueError, match="every is 0; it must be at least 1"):
        LossLog(0)


def test_a_term_of_some_iterations_has_the_mean_over_these() -> None:
    rows = [{"gen": 1.0, "disc": 4.0}, {"gen": 2.0}, {"gen": 3.0, "disc": 8.0}, {"gen": 6.0}]
    engine = Engine(
        lambda engine, _: {name: torch.tensor(value) for name, value in rows[engine.state.iteration - 1].items()}
    )
    written = logged(LossLog(4), engine)
    engine.run([0] * 4)
    assert written == [(4, {"gen": 3.0, "disc": 6.0})]
