"""What changes while training goes on, as pure functions of the iteration: nothing to save, exact on resume."""

from collections.abc import Mapping

import numpy as np
import torch
from ignite.engine import Engine, Events

from ctcycle.config.training import Schedule
from ctcycle.training.steps import Updates


def learning_rate_factor(progress: float, schedule: Schedule) -> float:
    """1 until ``decay_start``, then linear to ``decay_final`` at progress 1; progress in [0, 1]."""
    if progress <= schedule.decay_start:
        return 1.0
    done = (progress - schedule.decay_start) / (1 - schedule.decay_start)
    return 1 + (schedule.decay_final - 1) * min(done, 1.0)


def adversarial_factor(progress: float, schedule: Schedule) -> float:
    """1, and ``finish_adversarial`` in the finishing phase; progress in [0, 1]."""
    return schedule.finish_adversarial if progress >= schedule.finish_start else 1.0


def iteration_seed(seed: int, iteration: int) -> int:
    """The seed of everything drawn in one iteration."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0])


def attach_schedule(
    engine: Engine, updates: Updates, schedule: Schedule, rates: Mapping[str, float], seed: int
) -> None:
    """Before each iteration: seeds what it draws, sets learning rates and the adversarial weight.

    Args:
        engine: its state knows epochs and their length.
        updates: changed in place.
        schedule: how things change with progress.
        rates: learning rate at the start, by optimiser.
        seed: of the run.
    """

    @engine.on(Events.ITERATION_STARTED)
    def _prepare(engine: Engine) -> None:
        state = engine.state
        progress = (state.iteration - 1) / ((state.max_epochs or 1) * (state.epoch_length or 1))
        for name, optimiser in updates.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rates[name] * learning_rate_factor(progress, schedule)
        updates.adversarial = adversarial_factor(progress, schedule)
        number = iteration_seed(seed, state.iteration)
        updates.reseed(number)
        torch.default_generator.manual_seed(number)  # dropout draws from it
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(number)
