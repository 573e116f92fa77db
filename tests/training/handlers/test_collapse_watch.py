import pytest
from ignite.engine import Engine

from ctcycle.training.handlers.collapse_watch import CollapseWatch
from ctcycle.training.handlers.events import TrainingEvents

HEALTHY = {
    "gen_cycle_full": 0.1,
    "gen_adversarial_full": 0.3,
    "gen_adversarial_low": 0.4,
    "disc_full": 0.2,
    "disc_low": 0.25,
}


def watch(rows: list[dict[str, float]], stop_after: int = 0) -> list[str]:
    """What is told of these means of 20 iterations each; optionally with a restart after some of them."""
    told: list[str] = []
    watching, engine = attached(told)
    for number, row in enumerate(rows, 1):
        engine.state.iteration, engine.state.loss_means = 20 * number, row
        engine.fire_event(TrainingEvents.LOSSES_AVERAGED)
        if number == stop_after:
            state = watching.state_dict()
            watching, engine = attached(told)
            watching.load_state_dict(state)
    return told


def attached(told: list[str]) -> tuple[CollapseWatch, Engine]:
    watching, engine = CollapseWatch(100, told.append), Engine(lambda *_: None)
    watching.attach(engine)
    return watching, engine


def moving(number: int, **changes: float) -> dict[str, float]:
    """Healthy means that move by a percent, with changes."""
    return {name: value * (1 + 0.01 * (-1) ** number) for name, value in HEALTHY.items()} | changes


WON = {"disc_full": 0.004, "disc_low": 0.009}


@pytest.mark.parametrize("stop_after", [0, 5, 9])
def test_discriminators_that_always_win_are_told_once_with_what_to_try(stop_after: int) -> None:
    rows = [moving(number, **(WON if number > 3 else {})) for number in range(1, 20)]
    (told,) = watch(rows, stop_after)
    assert told.startswith("iteration 160: all discriminator losses below 0.01 for 100 iterations")
    assert "try a smaller optimizer.lr_discriminator, image_pool=50 or discriminator.spectral_norm=true" in told


def test_wasserstein_losses_below_zero_are_no_victory() -> None:
    told: list[str] = []
    watching, engine = CollapseWatch(100, told.append, bounded=False), Engine(lambda *_: None)
    watching.attach(engine)
    for number in range(1, 40):
        engine.state.iteration, engine.state.loss_means = 20 * number, moving(number, disc_full=-3.0, disc_low=-2.0)
        engine.fire_event(TrainingEvents.LOSSES_AVERAGED)
    assert told == []


def test_losses_that_do_not_move_are_told() -> None:
    (told,) = watch([moving(0), *[HEALTHY] * 10])
    assert told.startswith("iteration 140: adversarial losses unchanged for 100 iterations")


@pytest.mark.parametrize(
    "rows",
    [
        [moving(number) for number in range(30)],
        [moving(number, **(WON if number % 5 else {})) for number in range(30)],  # it recovers in time
        [moving(number, disc_full=0.001) for number in range(30)],  # one of two
        [{"gen_supervised": 0.1}] * 30,
    ],
)
def test_training_that_goes_on_is_not_disturbed(rows: list[dict[str, float]]) -> None:
    assert watch(rows) == []


def test_patience_is_at_least_one_iteration() -> None:
    with pytest.raises(ValueError, match="patience is 0; it must be at least 1"):
        CollapseWatch(0, print)
