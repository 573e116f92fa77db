"""Scores methods on pairs of slices, under named protocols."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ctcycle.errors import SeriesError
from ctcycle.evaluation.methods.method import HUFilter, Method
from ctcycle.evaluation.pairs import HUImage, HUPair
from ctcycle.evaluation.results import Evaluation, SliceRecord, summarise
from ctcycle.metrics import ProtocolName
from ctcycle.metrics.noise import soft_tissue_noise, tissue_windows
from ctcycle.metrics.protocols import PROTOCOLS, body_mask, score
from ctcycle.metrics.tissue_bias import air_free_bias_hu, outside_air

BODY_NOTE = "scored inside the body only (body mask of full dose)"
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True)
class ScoreOptions:
    """How outputs are scored.

    Attributes:
        protocols: the metric protocols.
        body_only: score only inside the body (`body_mask` of full dose); a slice without a body is scored completely.
    """

    protocols: tuple[ProtocolName, ...] = ("hu2000",)
    body_only: bool = False


class Scorer:
    """Scores outputs of one slice against its full dose; what does not depend on the output is computed once.

    Args:
        pair: the slice.
        options: how to score.

    Raises:
        SeriesError: the two doses differ in shape.
    """

    def __init__(self, pair: HUPair, options: ScoreOptions) -> None:
        if pair.low_hu.shape != pair.full_hu.shape:
            raise SeriesError(
                f"{pair.where}: low dose is {pair.low_hu.shape} and full dose {pair.full_hu.shape} px; shapes must be "
                "equal"
            )
        self._pair, self._protocols = pair, options.protocols
        self._mask = _body(pair.full_hu) if options.body_only else None
        self._windows = tissue_windows(pair.full_hu)
        self._noise_full = soft_tissue_noise(pair.full_hu, self._windows)
        self._outside_air = outside_air(pair.full_hu)

    def records(self, method: str, output: HUImage) -> list[SliceRecord]:
        """Return a record for each protocol.

        Args:
            method: name of the method.
            output: (H, W) HU.

        Raises:
            SeriesError: the slice cannot be scored under a protocol.
        """
        pair = self._pair
        noise = soft_tissue_noise(output, self._windows)
        bias = air_free_bias_hu(output, pair.full_hu, self._outside_air)
        found = []
        for protocol in self._protocols:
            try:
                scores = score(PROTOCOLS[protocol], output, pair.full_hu, self._mask)
            except SeriesError as error:
                raise SeriesError(f"{pair.where}: {error}") from error
            key = (method, protocol, pair.patient, pair.series, pair.slice_index)
            found.append(SliceRecord(*key, **asdict(scores), noise_hu=noise, noise_full_hu=self._noise_full))
        return [replace(record, bias_outside_air_hu=bias) for record in found]


def evaluate(
    pairs: Iterable[HUPair],
    methods: Mapping[str, HUFilter],
    protocols: Sequence[ProtocolName] = ("hu2000",),
    *,
    body_only: bool = False,
    workers: int = 1,
    seed: int = 0,
) -> Evaluation:
    """Run every method on every slice and score the output against full dose.

    Args:
        pairs: consumed lazily, a few at a time; wrap them in a progress bar to show progress.
        methods: by name, in the order of the table. With several workers a method is called from several threads.
        protocols: the metric protocols.
        body_only: see `ScoreOptions`.
        workers: number of threads; classical filters and scores scale almost linearly with it.
        seed: seed of the bootstrap.

    Raises:
        SeriesError: there are no pairs, a pair cannot be scored, or a method's output has the wrong shape or values
            that are not finite.
    """

    def one(pair: HUPair) -> list[SliceRecord]:
        return evaluate_pair(pair, methods, protocols, body_only=body_only)

    records = [record for slice_records in in_order(one, pairs, workers) for record in slice_records]
    found = summarise(records, seed=seed)
    return replace(found, notes=(*found.notes, BODY_NOTE)) if body_only else found


def evaluate_pair(
    pair: HUPair, methods: Mapping[str, HUFilter], protocols: Sequence[ProtocolName], *, body_only: bool = False
) -> list[SliceRecord]:
    """Return the records of one pair, by method, then protocol; arguments and errors as in `evaluate`."""
    scorer = Scorer(pair, ScoreOptions(tuple(protocols), body_only))
    named = (Method(name, name, "filter", "", denoise) for name, denoise in methods.items())
    return [record for method in named for record in scorer.records(method.name, method.output(pair))]


def in_order(function: Callable[[_In], _Out], items: Iterable[_In], workers: int) -> Iterator[_Out]:
    """Map over threads in order, holding only a few items at a time (Executor.map would consume all of them)."""
    if workers <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[_Out]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _body(full: HUImage) -> NDArray[np.bool_] | None:
    body = body_mask(full)
    return body if body.any() else None
