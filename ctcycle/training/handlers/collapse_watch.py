"""Detects stalled adversarial training."""

import math
from collections.abc import Callable, Mapping

from ignite.engine import Engine

from ctcycle.training.handlers.events import TrainingEvents, register


class CollapseWatch:
    """Warns once per run if adversarial training has stalled.

    It has stalled if the discriminators always win, i.e. the loss of each is below 0.01 (chance level: 0.25 for least
    squares, 0.69 for cross entropy, 1 for hinge), or if no adversarial loss of the generators changes by 0.1 %.

    Args:
        patience: iterations of stalled training before the warning.
        warn: called with the message.
        bounded: whether a discriminator loss near 0 means that it always wins; false for Wasserstein losses, which are
            negative.
    """

    def __init__(self, patience: int, warn: Callable[[str], None], *, bounded: bool = True) -> None:
        if patience < 1:
            raise ValueError(f"patience is {patience}; it must be at least 1")
        self.patience, self.warn, self.bounded = patience, warn, bounded
        self._warned = False
        self._won_after = self._still_after = 0
        self._reference: dict[str, float] = {}

    def attach(self, engine: Engine) -> None:
        """Check the mean losses that a `LossLog` attached to the same engine reports."""
        register(engine)
        engine.add_event_handler(TrainingEvents.LOSSES_AVERAGED, self)

    def __call__(self, engine: Engine) -> None:
        """Check the latest mean losses."""
        iteration, means = engine.state.iteration, engine.state.loss_means  # type: ignore[attr-defined]
        judging = [value for name, value in means.items() if name.startswith("disc_")]
        fooling = {name: value for name, value in means.items() if name.startswith("gen_adversarial")}
        if self._warned or not (judging and fooling):
            return
        if max(judging) >= 0.01 or not self.bounded:
            self._won_after = iteration
        if any(abs(value - self._reference.get(name, math.inf)) > 1e-3 * abs(value) for name, value in fooling.items()):
            self._still_after, self._reference = iteration, fooling
        if iteration - self._won_after >= self.patience:
            self._warn_once(
                f"iteration {iteration}: all discriminator losses below 0.01 for {self.patience} iterations, so the"
                " generator no longer learns from them; try a smaller optimizer.lr_discriminator, image_pool=50 or"
                " discriminator.spectral_norm=true"
            )
        elif iteration - self._still_after >= self.patience:
            self._warn_once(
                f"iteration {iteration}: adversarial losses unchanged for {self.patience} iterations, so the"
                " discriminators give the same output for any input; try another optimizer.lr_discriminator,"
                " discriminator.gain=auto or optimizer.clip_norm"
            )

    def _warn_once(self, message: str) -> None:
        self._warned = True
        self.warn(message)

    def state_dict(self) -> dict[str, object]:
        """Return the iterations and losses being compared, and whether the warning was given."""
        since = {"won_after": self._won_after, "still_after": self._still_after}
        return {"told": self._warned, **since, "reference": dict(self._reference)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore the state returned by `state_dict`."""
        self._warned, self._reference = bool(state["told"]), dict(state["reference"])  # type: ignore[call-overload]
        self._won_after, self._still_after = int(state["won_after"]), int(state["still_after"])  # type: ignore[call-overload]
