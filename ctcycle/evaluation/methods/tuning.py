"""Tuning of classical filters: on validation patients, or leaving out the patient under test."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ctcycle.ct.measures import HU2000
from ctcycle.evaluation.methods.filters import CLASSICAL, RULE, SETTINGS, TITLES, VERSION, Setting
from ctcycle.evaluation.methods.method import Method, digest_of
from ctcycle.evaluation.pairs import EvaluationPairs, HUImage, HUPair, LowDoseSlice, slices_digest

MAX_SLICES = 16
"""Slices that a filter is tuned on, spread over all slices of the tuning patients."""

Errors = Mapping[str, Sequence[float]]
"""Mean squared error in HU^2 of every setting, by patient."""


@dataclass(frozen=True)
class TuningSlices:
    """The slices that filters are tuned on.

    Attributes:
        pairs: of validation patients, or of the patients under test.
        leave_one_out: whether each patient's strength is chosen on the others.
    """

    pairs: EvaluationPairs
    leave_one_out: bool

    def digest(self, name: str) -> str:
        """Return a hash of all that determines the tuning of a filter."""
        settings = [setting.text for setting in SETTINGS[name]]
        return digest_of("tuned", name, VERSION, settings, MAX_SLICES, self.leave_one_out, slices_digest(self.pairs))


def measure_settings(pairs: Iterable[HUPair], settings: Sequence[Setting], workers: int = 1) -> dict[str, list[float]]:
    """Return the mean squared error of every setting by patient, HU clipped to [-1000, 1000].

    Args:
        pairs: the slices; `spread` selects some of many.
        settings: the strengths.
        workers: number of threads.
    """
    found: dict[str, list[list[float]]] = {}
    with ThreadPoolExecutor(workers) as pool:
        for pair in pairs:
            errors = pool.map(lambda setting, pair=pair: _squared_error(setting, pair), settings)
            found.setdefault(pair.patient, []).append(list(errors))
    return {patient: np.mean(rows, axis=0).tolist() for patient, rows in found.items()}


def spread(pairs: EvaluationPairs) -> Iterable[HUPair]:
    """Return at most `MAX_SLICES` pairs, spread evenly, but at least one of every patient."""
    owners = [pair.patient for pair in pairs]
    even = np.linspace(0, len(owners) - 1, min(MAX_SLICES, len(owners))).astype(int).tolist()
    chosen = {*even, *(_middle(owners, owner) for owner in dict.fromkeys(owners))}
    return (pair for number, pair in enumerate(pairs) if number in chosen)


def tuned(name: str, errors: Errors, digest: str, *, leave_one_out: bool) -> Method:
    """Return a filter with the best of its settings.

    Args:
        name: one of `SETTINGS`.
        errors: from `measure_settings`.
        digest: of the tuning, `TuningSlices.digest`.
        leave_one_out: choose the setting of each patient in ``errors`` on the others. Without another patient the rule
            is used.
    """
    settings = SETTINGS[name]
    if leave_one_out and len(errors) < 2:
        note = f"{name}: no other patient to tune on, so the rule of {RULE[name]} is used"
        return Method(name, TITLES[name], "filter", digest, CLASSICAL[RULE[name]], notes=(note,))
    everywhere = settings[_best(errors.values())]
    if not leave_one_out:
        note = f"{name}: {everywhere.text}, chosen on {_named(errors)}, which the table does not contain"
        return Method(name, TITLES[name], "filter", digest, everywhere.denoise, notes=(note,))
    own = {patient: settings[_best(rows for other, rows in errors.items() if other != patient)] for patient in errors}
    texts = list(dict.fromkeys(setting.text for setting in own.values()))
    note = f"{name}: {'; '.join(texts)}, chosen for each patient on the other {len(errors) - 1}"
    return Method(name, TITLES[name], "filter", digest, everywhere.denoise, _by_patient(own, everywhere), notes=(note,))


def _by_patient(own: Mapping[str, Setting], other: Setting) -> Callable[[LowDoseSlice], HUImage]:
    return lambda item: own.get(item.patient, other).denoise(item.low_hu)


def _squared_error(setting: Setting, pair: HUPair) -> float:
    error = HU2000.clip(setting.denoise(pair.low_hu)) - HU2000.clip(pair.full_hu)
    return float(np.mean(error**2))


def _best(rows: Iterable[Sequence[float]]) -> int:
    return int(np.argmin(np.mean(list(rows), axis=0)))


def _middle(owners: Sequence[str], owner: str) -> int:
    own = [number for number, name in enumerate(owners) if name == owner]
    return own[len(own) // 2]


def _named(errors: Errors) -> str:
    count = len(errors)
    return f"{count} validation {'patient' if count == 1 else 'patients'}"
