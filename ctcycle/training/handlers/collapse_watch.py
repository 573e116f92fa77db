"""Notices adversarial training that has come to a standstill."""

import math
from collections.abc import Callable, Mapping

from ignite.engine import Engine

from ctcycle.training.handlers.events import TrainingEvents, register


class CollapseWatch:
    """Warns, once in a run, that adversarial training has come to a standstill.

    Either the discriminators win without fail, each loss below 0.01 (chance is 0.25 for least squares, 0.69 for cross
    entropy, 1 for hinge), or no adversarial loss of the generators has moved by 0.1 %.

    Args:
        patience: iterations that the standstill must have lasted.
        warn: gets the sentence.
    """

    def __init__(self, patience: int, warn: Callable[[str], None]) -> None:
        if patience < 1:
            raise ValueError(f"patience is {patience}; it must be at least 1")
        self.patience, self.warn = patience, warn
        self._told = False
        self._won_after = self._still_after = 0
        self._reference: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Watch the means that a `LossLog` on the same engine gives."""
        register(engine)
        engine.add_event_handler(TrainingEvents.LOSSES_AVERAGED, self)

    def __call__(self, engine: Engine) -> None:
        """Look at the latest mean losses."""
        iteration, means = engine.state.iteration, engine.state.loss_means  # type: ignore[attr-defined]
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
        """Return what has been seen, and whether it was reported."""
        since = {"won_after": self._won_after, "still_after": self._still_after}
        return {"told": self._told, **since, "reference": dict(self._reference)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore the state returned by `state_dict`."""
        self._told, self._reference = bool(state["told"]), dict(state["reference"])  # type: ignore[call-overload]
        self._won_after, self._still_after = int(state["won_after"]), int(state["still_after"])  # type: ignore[call-overload]
