"""A progress bar for the whole training run."""

from collections.abc import Iterator
from contextlib import contextmanager

from ignite.engine import Engine, Events
from tqdm import tqdm


class Progress:
    """A progress bar over all iterations, with the remaining time; a resumed run starts at its iteration.

    Args:
        name: the bar's label.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Follow the iterations of ``engine``; the bar is only visible inside `shown`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar while the context is open, and close it however the run ends."""
        with tqdm(desc=self.name, unit="it", dynamic_ncols=True) as self._bar:
            yield
        self._bar = None

    def _start(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.reset(total=(engine.state.max_epochs or 1) * (engine.state.epoch_length or 1))
            self._bar.initial = self._bar.n = engine.state.iteration

    def _step(self, _engine: Engine) -> None:
        if self._bar is not None:
            self._bar.update()
