"""Events of a training besides Ignite's own."""

from ignite.engine import Engine, EventEnum


class TrainingEvents(EventEnum):
    """What handlers of a trainer tell each other.

    LOSSES_AVERAGED: ``state.loss_means`` has the mean of each loss term since the last time.
    VALIDATED: ``state.scores`` has the scores of the denoiser, ``val/...``; ``state.denoiser`` the denoiser.
    """

    LOSSES_AVERAGED = "losses_averaged"
    VALIDATED = "validated"


def register(engine: Engine) -> None:
    """Make the events known to an engine; twice does no harm."""
    engine.register_events(*(event for event in TrainingEvents if event not in engine._allowed_events))  # noqa: SLF001 (there is no public way)


def ends_epoch(engine: Engine) -> bool:
    """Whether the current iteration is the last of its epoch."""
    return engine.state.iteration % (engine.state.epoch_length or 1) == 0
