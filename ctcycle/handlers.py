"""Small handlers that attach to any engine whose output is a mapping of loss terms."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from ctcycle.errors import DivergedError


def attach_finite_check(engine: Engine) -> None:
    """Stops the run with a DivergedError in the iteration in which a loss term is not finite, naming the term."""

    @engine.on(Events.ITERATION_COMPLETED)
    def _check(engine: Engine) -> None:
        terms: Mapping[str, Tensor] = engine.state.output  # type: ignore[assignment]
        if not bool(torch.stack([term.isfinite() for term in terms.values()]).all()):
            bad = ", ".join(name for name, term in terms.items() if not bool(term.isfinite()))
            raise DivergedError(
                f"iteration {engine.state.iteration}: {bad} is not finite; lower optimizer.lr or set "
                "optimizer.clip_norm, and start anew with overwrite=true; until then the last checkpoint stays"
            )


class LossLog:
    """Means of the loss terms over every ``every`` iterations; attaches to an engine and survives a resume.

    Args:
        every: iterations in a mean.
        write: gets (iteration, means).
    """

    def __init__(self, every: int, write: Callable[[int, dict[str, float]], None]) -> None:
        self.every, self.write = every, write
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def attach(self, engine: Engine) -> None:
        """Counts every completed iteration of ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Takes the terms of the iteration that just ended."""
        terms: Mapping[str, Tensor] = engine.state.output  # type: ignore[assignment]
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(term, dtype=torch.float32)) + term
        self._count += 1
        if self._count == self.every:
            self.flush(engine.state.iteration)

    def flush(self, iteration: int) -> None:
        """Writes the mean of what has come since the last one, if anything has."""
        if self._count:
            means = torch.stack(list(self._sums.values())) / self._count  # one wait for the device
            self.write(iteration, dict(zip(self._sums, means.tolist(), strict=True)))
            self._sums, self._count = {}, 0

    def state_dict(self) -> dict[str, object]:
        """Sums and their count."""
        return {"sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Puts back what `state_dict` gave."""
        self._sums, self._count = dict(state["sums"]), int(state["count"])  # type: ignore[call-overload]


def attach_average(engine: Engine, average: AveragedModel, net: nn.Module) -> None:
    """Takes ``net`` into its running mean after every iteration."""
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: average.update_parameters(net))


def averaged(net: nn.Module, decay: float) -> AveragedModel:
    """An exponential running mean of the weights of ``net``; its decay grows from 0.18 to ``decay`` at the start."""

    @torch.no_grad()
    def update(means: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(means, current, 1 - now)

    return AveragedModel(net, multi_avg_fn=update)  # type: ignore[arg-type]


@contextmanager
def progress_bar(engine: Engine, name: str) -> Iterator[None]:
    """Inside, a bar over all iterations of ``engine`` with the time left; a resumed run starts where it was."""
    with tqdm(desc=name, unit="it", dynamic_ncols=True) as bar:

        def start(engine: Engine) -> None:
            bar.reset(total=(engine.state.max_epochs or 1) * (engine.state.epoch_length or 1))
            bar.initial = bar.n = engine.state.iteration

        engine.add_event_handler(Events.STARTED, start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: bar.update() and None)
        yield


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM are only noted, so that the running iteration ends; a second one interrupts at once.

    Yields:
        The signals received, in order.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
