import math

import pytest
from loss_engine import engine_of

from ctcycle.errors import DivergedError
from ctcycle.training.handlers.finite_check import FiniteCheck


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_term_that_is_not_finite_ends_the_run(bad: float) -> None:
    rows = [{"gen_cycle_full": 1.0, "disc_full": 0.5}, {"gen_cycle_full": 1.0, "disc_full": bad}, {}]
    engine = engine_of(rows)
    FiniteCheck().attach(engine)
    engine.logger.disabled = True
    with pytest.raises(DivergedError, match=r"^iteration 2: disc_full is not finite; .*optimizer\.lr"):
        engine.run([0] * 3)
    assert engine.state.iteration == 2


def test_all_terms_that_are_not_finite_are_named() -> None:
    engine = engine_of([{"a": math.nan, "b": 1.0, "c": math.inf}])
    FiniteCheck().attach(engine)
    engine.logger.disabled = True
    with pytest.raises(DivergedError, match="a, c is not finite"):
        engine.run([0])


def test_a_device_is_waited_for_only_now_and_then() -> None:
    engine = engine_of([{"a": 1.0, "b": 1.0}, {"a": math.nan}, {"a": 1.0}, {"a": 1.0}])
    FiniteCheck(every=3).attach(engine)
    engine.logger.disabled = True
    with pytest.raises(DivergedError, match=r"^iteration 3: a is not finite"):
        engine.run([0] * 4)
    assert engine.state.iteration == 3


def test_terms_are_judged_anew_after_each_check() -> None:
    engine = engine_of([{"a": 1.0}] * 4 + [{"b": 1.0}])
    FiniteCheck(every=2).attach(engine)
    engine.run([0] * 5)
    with pytest.raises(ValueError, match="every is 0"):
        FiniteCheck(0)
