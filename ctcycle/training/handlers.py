"""Small handlers that attach to any engine whose output is a mapping of loss terms."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

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


class CollapseWatch:
    """Tells, once in a run, that adversarial training has come to a standstill.

    Either the discriminators win without fail, each loss below 0.01 (chance is 0.25 for least squares, 0.69 for cross
    entropy, 1 for hinge), or no adversarial loss of the generators has moved by 0.1 %.

    Args:
        patience: iterations that it must have lasted.
        warn: gets the sentence.
    """

    def __init__(self, patience: int, warn: Callable[[str], None]) -> None:
        self.patience, self.warn = patience, warn
        self._told = False
        self._won_after = self._still_after = 0
        self._reference: dict[str, float] = {}

    def __call__(self, iteration: int, means: Mapping[str, float]) -> None:
        """Takes the mean losses, by name, of the iterations before ``iteration``."""
        judging = [value for name, value in means.items() if name.startswith("disc_")]
        fooling = {name: value for name, value in means.items() if name.startswith("gen_adversarial")}
        if self._told or not (judging and fooling):
            return
        if max(judging) >= 0.01:
            self._won_after = iteration
        if any(abs(value - self._reference.get(name, math.inf)) > 1e-3 * abs(value) for name, value in fooling.items()):
            self._still_after, self._reference = iteration, fooling
        if iteration - self._won_after >= self.patience:
            self._tell(
                f"iteration {iteration}: every discriminator's loss has been below 0.01 for {self.patience} iterations,"
                " so the generator learns nothing from them; try a smaller optimizer.lr_discriminator, image_pool=50 or"
                " discriminator.spectral_norm=true"
            )
        elif iteration - self._still_after >= self.patience:
            self._tell(
                f"iteration {iteration}: the adversarial losses have not moved for {self.patience} iterations, the"
                " discriminators answer the same to everything; try another optimizer.lr_discriminator,"
                " discriminator.gain=auto or optimizer.clip_norm"
            )

    def _tell(self, sentence: str) -> None:
        self._told = True
        self.warn(sentence)

    def state_dict(self) -> dict[str, object]:
        """What has been seen, and whether it has been told."""
        since = {"won_after": self._won_after, "still_after": self._still_after}
        return {"told": self._told, **since, "reference": dict(self._reference)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Puts back what `state_dict` gave."""
        self._told, self._reference = bool(state["told"]), dict(state["reference"])  # type: ignore[call-overload]
        self._won_after, self._still_after = int(state["won_after"]), int(state["still_after"])  # type: ignore[call-overload]


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
