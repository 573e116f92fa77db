import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ctcycle.config.training import Schedule
from ctcycle.training.handlers.schedule import ScheduleHandler
from ctcycle.training.handlers.schedules import learning_rate_factor
from ctcycle.training.updates import Updates

RECIPE = Schedule(decay_start=0.5, decay_final=0.02, finish_start=0.5, finish_adversarial=0.05)


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
    ScheduleHandler(updates, schedule, {"gen": 0.1, "disc": 0.4}, seed).attach(engine)
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
    fall = [0.05 ** (done / 4) for done in range(4)]  # geometric, over the second half
    assert [row[2] for row in seen] == pytest.approx([1.0] * 4 + fall)
    assert len({row[3] for row in seen}) == 8


@pytest.mark.parametrize("start", [4, 5])
def test_a_resumed_run_goes_on_exactly(start: int) -> None:
    assert run(RECIPE, start) == run(RECIPE)[start:]
    assert run(RECIPE, start, seed=6) != run(RECIPE)[start:]


def test_every_optimiser_needs_a_rate() -> None:
    updates = Updates({"gen": torch.optim.Adam(nn.Linear(1, 1).parameters())})
    with pytest.raises(ValueError, match="no learning rate for gen"):
        ScheduleHandler(updates, RECIPE, {"disc": 0.4}, 0)
