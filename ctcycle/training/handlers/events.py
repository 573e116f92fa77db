"""Training events in addition to Ignite's own."""

from ignite.engine import Engine, EventEnum


class TrainingEvents(EventEnum):
    """Events by which the handlers of a trainer notify each other.

    LOSSES_AVERAGED: ``state.loss_means`` holds the mean of each loss term since the previous event.
    VALIDATED: ``state.scores`` holds the denoiser's scores, ``val/...``, and ``state.denoiser`` the denoiser.
    MEASURED: ``state.scores`` holds what was measured without pairs, ``watch/...``.
    """

    LOSSES_AVERAGED = "losses_averaged"
    VALIDATED = "validated"
    MEASURED = "measured"


def register(engine: Engine) -> None:
    """Register the training events with an engine; safe to call more than once."""
    engine.register_events(*(event for event in TrainingEvents if event not in engine._allowed_events))  # noqa: SLF001 (there is no public way)


def ends_epoch(engine: Engine) -> bool:
    """Return whether the current iteration is the last of its epoch."""
    return engine.state.iteration % (engine.state.epoch_length or 1) == 0
