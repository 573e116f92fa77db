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
    """Return the factor of the adversarial weight: 1 until ``finish_start``, ``finish_adversarial`` at the end.

    It falls geometrically over the share ``finish_ramp`` of the finishing phase, and then stays. At one blow, the
    denoiser may end as the identity, which satisfies all other losses.

    Args:
        progress: in [0, 1].
        schedule: start, end value and ramp.
    """
    if progress < schedule.finish_start or schedule.finish_start == 1:
        return 1.0
    ramp = schedule.finish_ramp * (1 - schedule.finish_start)
    done = min(1.0, (progress - schedule.finish_start) / ramp) if ramp else 1.0
    return float(schedule.finish_adversarial**done) if schedule.finish_adversarial else float(done < 1)


def iteration_seed(seed: int, iteration: int) -> int:
    """Return the seed for all random draws in one iteration."""
    return int(np.random.SeedSequence([seed, iteration]).generate_state(1)[0])
