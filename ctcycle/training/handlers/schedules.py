"""Training schedules as pure functions of progress: they have no state to save, so resuming is exact."""

import numpy as np

from ctcycle.config.training import Schedule


def learning_rate_factor(progress: float, schedule: Schedule) -> float:
    """Return 1 until ``decay_start``, then decay linearly to ``decay_final`` at progress 1; progress in [0, 1]."""
    if progress <= schedule.decay_start:
        return 1.0
    done = (progress - schedule.decay_start) / (1 - schedule.decay_start)
    return 1 + (schedule.decay_final - 1) * min(done, 1.0)


def adversarial_factor(progress: float, schedule: Schedule) -> float:
    """Return the factor of the adversarial weight: 1, from ``finish_start`` on ``finish_adversarial``.

    ``progress`` is in [0, 1].
    """
    return schedule.finish_adversarial if progress >= schedule.finish_start else 1.0


def iteration_seed(seed: int, iteration: int) -> int:
    """Return the seed for all random draws in one iteration."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0])
