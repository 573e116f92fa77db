"""Logs the losses, scores and speed of a training run to the run folder and to MLflow."""

from collections.abc import Callable, Mapping

from ignite.engine import Engine, Events
from ignite.handlers import Timer

from ctcycle.runs import ranks
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.tracking import Tracker
from ctcycle.training.handlers.events import TrainingEvents, register


class TrackingHandler:
    """Logs mean losses and validation scores to ``metrics.jsonl`` and MLflow; rates and the speed only to MLflow.

    Args:
        folder: the run folder.
        tracker: the MLflow run.
        hu_per_unit: HU per unit of the network's range.
        l1_terms: prefixes of the names of losses that are also logged in HU.
        rates: returns the present learning rates and weights by name.
    """

    def __init__(
        self,
        folder: RunFolder,
        tracker: Tracker,
        hu_per_unit: float,
        l1_terms: tuple[str, ...],
        rates: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        if hu_per_unit <= 0:
            raise ValueError(f"hu_per_unit is {hu_per_unit}; it must be greater than 0")
        self.folder, self.tracker, self.hu_per_unit, self.l1_terms = folder, tracker, hu_per_unit, l1_terms
        self.rates = rates
        self._timer = Timer(average=True)

    def attach(self, engine: Engine) -> None:
        """Log the events that a `LossLog` and a `ValidationHandler` fire on ``engine``."""
        register(engine)
        self._timer.attach(engine, start=Events.EPOCH_STARTED, step=Events.ITERATION_COMPLETED)
        engine.add_event_handler(TrainingEvents.LOSSES_AVERAGED, self.losses)
        engine.add_event_handler(TrainingEvents.VALIDATED, self.scores)
        engine.add_event_handler(TrainingEvents.MEASURED, self.scores)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.speed)

    def losses(self, engine: Engine) -> None:
        """Log the latest mean losses."""
        means: Mapping[str, float] = engine.state.loss_means  # type: ignore[attr-defined]
        values = {f"train/{name}": value for name, value in means.items()}
        in_hu = {name: value for name, value in means.items() if name.startswith(self.l1_terms)}
        values |= {f"train/{name}_hu": value * self.hu_per_unit for name, value in in_hu.items()}
        self.folder.append_metrics({"iteration": engine.state.iteration, **values})
        self.tracker.metrics({**values, **self.rates()}, engine.state.iteration)

    def scores(self, engine: Engine) -> None:
        """Log the latest validation scores, or what was measured without pairs."""
        scores: Mapping[str, float] = engine.state.scores  # type: ignore[attr-defined]
        self.folder.append_metrics({"iteration": engine.state.iteration, "epoch": engine.state.epoch, **scores})
        self.tracker.metrics(scores, engine.state.iteration)

    def speed(self, engine: Engine) -> None:
        """Log the speed of this epoch; to MLflow only, since it differs between identical runs."""
        if not self._timer.step_count:
            return
        seconds = self._timer.value()
        found = {"time/seconds_per_iteration": seconds}
        batch: object = engine.state.batch
        if isinstance(batch, Mapping) and seconds > 0:
            images = ranks.world() * len(next(iter(batch.values())))
            found["time/patches_per_second"] = images / seconds
        self.tracker.metrics(found, engine.state.iteration)
