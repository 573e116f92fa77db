import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine
from torch import nn

from ctcycle.config.training import Schedule
from ctcycle.training.schedules import adversarial_factor, attach_schedule, iteration_seed, learning_rate_factor
from ctcycle.training.steps import Updates

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


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 1.0), (0.499, 1.0), (0.5, 0.05), (1.0, 0.05)])
def test_the_adversarial_weight_drops_for_the_finish(progress: float, factor: float) -> None:
    assert adversarial_factor(progress, RECIPE) == factor


def test_there_is_no_finish_unless_asked_for() -> None:
    assert adversarial_factor(0.9999, NEVER) == 1.0


def test_every_iteration_has_a_seed_of_its_own() -> None:
    seeds = {iteration_seed(seed, iteration) for seed in range(20) for iteration in range(1, 200)}
    assert len(seeds) == 20 * 199
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert iteration_seed(3, 4) == iteration_seed(3, 4)


def run(schedule: Schedule, start: int = 0, seed: int = 5) -> list[tuple[float, ...]]:
    """(learning rates, adversarial factor, numbers drawn) of each iteration: two epochs of four."""
    nets = {name: nn.Linear(1, 1) for name in ("gen", "disc")}
    updates = Updates({name: torch.optim.Adam(net.parameters(), lr=7.0) for name, net in nets.items()})
    seen = []

    def step(_engine: Engine, _batch: object) -> None:
        rates = [updates.optimisers[name].param_groups[0]["lr"] for name in ("gen", "disc")]
        drawn = [float(torch.rand((), generator=rng)) for rng in (updates.rng, updates.noise_rng, None)]
        seen.append((*rates, updates.adversarial, *drawn))

    engine = Engine(step)
    attach_schedule(engine, updates, schedule, {"gen": 0.1, "disc": 0.4}, seed)
    if start:
        engine.load_state_dict({"iteration": start, "epoch_length": 4, "max_epochs": 2})
    with torch.random.fork_rng():
        engine.run([0] * 4, max_epochs=2, epoch_length=4)
    return seen


def test_all_is_set_before_each_iteration() -> None:
    seen = run(RECIPE)
    factors = [learning_rate_factor(done / 8, RECIPE) for done in range(8)]
    assert factors[4] == 1.0 > factors[5]
    assert [row[0] for row in seen] == pytest.approx([0.1 * factor for factor in factors])
    assert [row[1] for row in seen] == pytest.approx([0.4 * factor for factor in factors])
    assert [row[2] for row in seen] == [1.0] * 4 + [0.05] * 4
    assert len({row[3] for row in seen}) == 8


@pytest.mark.parametrize("start", [4, 5])
def test_a_resumed_run_goes_on_exactly(start: int) -> None:
    assert run(RECIPE, start) == run(RECIPE)[start:]
    assert run(RECIPE, start, seed=6) != run(RECIPE)[start:]
