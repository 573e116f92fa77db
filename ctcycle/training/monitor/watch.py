"""Measures the denoiser after each epoch, without pairs, and warns if it does not denoise."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from ctcycle.config.training import Watch
from ctcycle.data.slices import StoredSlices
from ctcycle.errors import SeriesError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.training.handlers.events import TrainingEvents, register
from ctcycle.training.monitor.measures import Domains, FixedSlice, measure
from ctcycle.training.monitor.verdict import UNPAIRED, faults

_log = logging.getLogger(__name__)
SETTLED = 0.25
"""Progress of training from which a denoiser that has not been good yet is reported."""

_FAULT_PENALTY = 1000.0
"""Added to the penalty for each fault, so that a checkpoint without fault is always better."""

_LEAST_DIFFERENCE = 0.05
_CANDIDATES = 4


class WatchHandler:
    """Measures the denoiser at the end of epochs, fires MEASURED, and warns of each kind of fault.

    A fault that stays is reported once, and again if it returns after the denoiser was without fault. Nothing is
    drawn at random. A fault is reported if the denoiser was without fault before, or if a quarter of the
    training is over: nearly all training starts as the identity.

    Args:
        domains: the noise of the two domains; None switches the handler off.
        slices: low-dose slices to measure on.
        limits: the section `training.watch`.
        current: returns the denoiser.
        losses: keys of the section `loss` of the method; no remedy names another.

    Attributes:
        faults: the faults at the last measurement, sentences by kind.
        found: what was measured then, see `ctcycle.training.monitor.measures.measure`.
    """

    def __init__(
        self,
        domains: Domains | None,
        slices: Sequence[FixedSlice],
        limits: Watch,
        current: Callable[[], Denoiser],
        losses: Collection[str] = UNPAIRED,
    ) -> None:
        self.domains, self.slices, self.limits, self.current, self.losses = domains, slices, limits, current, losses
        self.faults: dict[str, str] = {}
        self.found: dict[str, float] = {}
        self._told: set[str] = set()
        self._good = False

    @property
    def active(self) -> bool:
        """Whether the denoiser is measured."""
        return self.domains is not None

    def attach(self, engine: Engine) -> None:
        """Measure at the end of epochs of ``engine``."""
        register(engine)
        if self.active:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Measure if this is due, and report new faults."""
        state = engine.state
        if self.domains is None or not (state.epoch % self.limits.every == 0 or state.epoch == state.max_epochs):
            return
        denoiser = self.current()

        def denoise(image: NDArray[np.float64]) -> NDArray[np.float32]:
            return denoiser(image.astype(np.float32))

        self.found = measure(denoise, self.slices, self.domains)
        self.faults = faults(self.found, self.limits, self.losses)
        if self._good or state.epoch >= SETTLED * (state.max_epochs or 1):
            self._tell(state.epoch)
        self._good = self._good or not self.faults
        ranked = {"penalty": self.found["penalty"] + _FAULT_PENALTY * len(self.faults), "faults": len(self.faults)}
        state.scores = {f"watch/{name}": value for name, value in (self.found | ranked).items()}  # type: ignore[attr-defined]
        engine.fire_event(TrainingEvents.MEASURED)

    def _tell(self, epoch: int) -> None:
        for kind, sentence in self.faults.items():
            if kind not in self._told:
                _log.warning("epoch %d: %s", epoch, sentence)
        self._told = self._told | self.faults.keys() if self.faults else set()

    def state_dict(self) -> dict[str, Any]:
        """Return the last measurement, the kinds already reported, and whether the denoiser was good before."""
        last = {"faults": dict(self.faults), "found": dict(self.found)}
        return last | {"told": sorted(self._told), "good": self._good}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self.faults, self.found = dict(state["faults"]), dict(state.get("found", {}))
        self._told, self._good = set(state["told"]), bool(state["good"])


def make_watch(
    low: StoredSlices,
    full: StoredSlices,
    limits: Watch,
    current: Callable[[], Denoiser],
    losses: Collection[str] = UNPAIRED,
) -> WatchHandler:
    """Measure the two domains, choose the slices, and return the handler; it is off if this cannot be done."""
    if not limits.enabled:
        return WatchHandler(None, (), limits, current)
    slices = _fixed_slices(low, limits.slices)
    try:
        domains = Domains.measure(low, full)
    except SeriesError:
        slices = []
    if not slices:
        _log.warning("training.watch: off, since the training slices have no flat soft tissue to measure noise in")
        return WatchHandler(None, (), limits, current)
    if domains.expected() < _LEAST_DIFFERENCE:
        _log.warning(
            "training.watch: off, since low dose has %.0f %% more noise power than full dose; check the doses in the "
            "manifest",
            100 * domains.expected(),
        )
        return WatchHandler(None, (), limits, current)
    return WatchHandler(domains, slices, limits, current, losses)


def _fixed_slices(low: StoredSlices, most: int) -> list[FixedSlice]:
    """Return up to ``most`` evenly spaced slices that have flat soft tissue."""
    places = np.unique(np.linspace(0, len(low) - 1, min(_CANDIDATES * most, len(low))).astype(int))
    found = [FixedSlice.of(low[int(index)], _spacing_mm(low, int(index))) for index in places]
    useful = [item for item in found if item.places]
    kept = np.linspace(0, max(len(useful) - 1, 0), min(most, len(useful)))
    return [useful[index] for index in np.unique(kept.astype(int))]


def _spacing_mm(low: StoredSlices, index: int) -> float:
    """Return the pixel size, at least 0.2 mm so that the disc fits into its window; 1 mm if it is unknown."""
    return max(float(np.mean(low.series[low.refs[index].series].spacing_mm[1:])) or 1.0, 0.2)
