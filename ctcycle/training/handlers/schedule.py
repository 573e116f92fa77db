"""Sets the random seeds, learning rates and adversarial weight before each iteration."""

from collections.abc import Mapping

import torch
from ignite.engine import Engine, Events

from ctcycle.config.training import Schedule
from ctcycle.runs import ranks
from ctcycle.training.handlers.schedules import adversarial_factor, iteration_seed, learning_rate_factor
from ctcycle.training.updates import Updates


def current_rates(updates: Updates) -> dict[str, float]:
    """Return the learning rate of each optimiser and the factor of the adversarial weight, by their MLflow names."""
    found = {f"lr/{name}": float(one.param_groups[0]["lr"]) for name, one in updates.optimisers.items()}
    return found | {"schedule/adversarial": float(updates.adversarial)}


class ScheduleHandler:
    """Sets seeds, learning rates and the adversarial weight as pure functions of the iteration.

    Args:
        updates: changed in place.
        schedule: when and how far the rates and the weight decay.
        rates: initial learning rate, by optimiser.
        seed: the run's seed.
    """

    def __init__(self, updates: Updates, schedule: Schedule, rates: Mapping[str, float], seed: int) -> None:
        if missing := updates.optimisers.keys() - rates.keys():
            raise ValueError(f"rates: no learning rate for {', '.join(sorted(missing))}")
        self.updates, self.schedule, self.rates, self.seed = updates, schedule, rates, seed

    def attach(self, engine: Engine) -> None:
        """Act before every iteration of ``engine``; its state must have the number of epochs and their length."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set everything for the iteration that is about to start."""
        state = engine.state
        progress = (state.iteration - 1) / ((state.max_epochs or 1) * (state.epoch_length or 1))
        for name, optimiser in self.updates.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self.rates[name] * learning_rate_factor(progress, self.schedule)
        self.updates.adversarial = adversarial_factor(progress, self.schedule)
        number = iteration_seed(self.seed, state.iteration)
        self.updates.reseed(number)
        own = number + ranks.rank()  # used by dropout, which must differ between the parts of a batch
        torch.default_generator.manual_seed(own)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(own)
