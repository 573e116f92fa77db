from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctcycle.config.loading import load_config
from ctcycle.config.schema import AnyTrain, Config, Pipeline
from ctcycle.config.shipped import config_names, find_config
from ctcycle.config.training import Schedule
from ctcycle.training.handlers.schedules import adversarial_factor, iteration_seed, learning_rate_factor

HALF = Schedule(decay_start=0.5)
RECIPE = Schedule(decay_start=0.5, decay_final=0.02, finish_start=0.5, finish_adversarial=0.05)
NEVER = Schedule()


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        (NEVER, 0.0, 1.0),
        (NEVER, 0.999, 1.0),
        (NEVER, 1.0, 1.0),
        (HALF, 0.0, 1.0),
        (HALF, 0.5, 1.0),
        (HALF, 0.75, 0.5),
        (HALF, 1.0, 0.0),
        (RECIPE, 0.75, 0.51),
        (RECIPE, 1.0, 0.02),
        (Schedule(decay_start=0.0, decay_final=0.5), 0.5, 0.75),
    ],
)
def test_the_learning_rate_falls_linearly(schedule: Schedule, progress: float, factor: float) -> None:
    assert learning_rate_factor(progress, schedule) == pytest.approx(factor)


@given(progress=st.floats(0, 1))
def test_it_is_the_recipes_within_two_percent(progress: float) -> None:
    recipe = min(1, 2 * (1 - progress) + 0.02)
    assert learning_rate_factor(progress, RECIPE) == pytest.approx(recipe, abs=0.02 + 1e-12)


@pytest.mark.parametrize(
    ("ramp", "progress", "factor"),
    [
        (1.0, 0.0, 1.0),
        (1.0, 0.499, 1.0),
        (1.0, 0.5, 1.0),
        (1.0, 0.75, 0.05**0.5),
        (1.0, 1.0, 0.05),
        (0.5, 0.625, 0.05**0.5),
        (0.5, 0.75, 0.05),
        (0.5, 0.9, 0.05),
        (0.0, 0.499, 1.0),
        (0.0, 0.5, 0.05),
        (0.0, 1.0, 0.05),
    ],
)
def test_the_adversarial_weight_falls_geometrically_for_the_finish(ramp: float, progress: float, factor: float) -> None:
    schedule = RECIPE.model_copy(update={"finish_ramp": ramp})
    assert adversarial_factor(progress, schedule) == pytest.approx(factor)


def test_an_adversarial_weight_of_zero_at_the_end_comes_at_the_end() -> None:
    schedule = RECIPE.model_copy(update={"finish_adversarial": 0.0})
    assert [adversarial_factor(progress, schedule) for progress in (0.5, 0.9, 1.0)] == [1.0, 1.0, 0.0]


def test_there_is_no_finish_unless_asked_for() -> None:
    assert adversarial_factor(0.9999, NEVER) == 1.0


def test_every_iteration_has_a_seed_of_its_own() -> None:
    seeds = {iteration_seed(seed, iteration) for seed in range(20) for iteration in range(1, 200)}
    assert len(seeds) == 20 * 199
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert iteration_seed(3, 4) == iteration_seed(3, 4)


def trainings(config: Config) -> Iterator[AnyTrain]:
    """The trainings of a config: itself, or those among its steps."""
    for step in config.steps.values() if isinstance(config, Pipeline) else [config]:
        if step.task == "train":
            yield step


@pytest.mark.parametrize("name", config_names())
def test_no_shipped_schedule_takes_the_adversary_away_at_one_blow(name: str) -> None:
    """Even in 340 iterations, where that made the denoiser the identity; and the watch would say so."""
    for settings in trainings(load_config(find_config(name)).config):
        factors = [adversarial_factor(iteration / 340, settings.schedule) for iteration in range(340)]
        assert min(later / before for before, later in pairwise(factors)) > 0.95
        watch = settings.training.watch
        assert watch.enabled
        assert watch.least_removed
