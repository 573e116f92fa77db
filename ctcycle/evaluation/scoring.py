"""Scores methods on pairs of slices, under named protocols."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np

from ctcycle.errors import SeriesError
from ctcycle.evaluation.baselines import HUFilter, HUImage
from ctcycle.evaluation.pairs import HUPair
from ctcycle.evaluation.results import Evaluation, SliceRecord, summarise
from ctcycle.metrics import ProtocolName
from ctcycle.metrics.noise import soft_tissue_noise, tissue_windows
from ctcycle.metrics.protocols import PROTOCOLS, body_mask, score

BODY_NOTE = "scored inside the body only (body mask of full dose)"


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
        body_only: score only inside the body (`body_mask` of full dose); a slice without a body is scored completely.
        workers: number of threads; classical filters and scores scale almost linearly with it.
        seed: seed of the bootstrap.

    Raises:
        SeriesError: there are no pairs, a pair cannot be scored, or a method's output has the wrong shape or values
            that are not finite.
    """

    def one(pair: HUPair) -> list[SliceRecord]:
        return evaluate_pair(pair, methods, protocols, body_only=body_only)

    records = [record for slice_records in _in_order(one, pairs, workers) for record in slice_records]
    found = summarise(records, seed=seed)
    return replace(found, notes=(*found.notes, BODY_NOTE)) if body_only else found


def evaluate_pair(
    pair: HUPair, methods: Mapping[str, HUFilter], protocols: Sequence[ProtocolName], *, body_only: bool = False
) -> list[SliceRecord]:
    """Return the records of one pair, by method, then protocol; arguments and errors as in `evaluate`."""
    where = f"series {pair.series}, slice {pair.slice_index}"
    if pair.low_hu.shape != pair.full_hu.shape:
        raise SeriesError(
            f"{where}: low dose is {pair.low_hu.shape} and full dose {pair.full_hu.shape} px; shapes must be equal"
        )
    body = body_mask(pair.full_hu) if body_only else None
    mask = body if body is not None and body.any() else None
    windows = tissue_windows(pair.full_hu)
    noise_full = soft_tissue_noise(pair.full_hu, windows)
    records = []
    for method, denoise in methods.items():
        output = _run(denoise, pair.low_hu, f"{where}, method {method}")
        noise = soft_tissue_noise(output, windows)
        for protocol in protocols:
            try:
                scores = score(PROTOCOLS[protocol], output, pair.full_hu, mask)
            except SeriesError as error:
                raise SeriesError(f"{where}: {error}") from error
            key = (method, protocol, pair.patient, pair.series, pair.slice_index)
            records.append(SliceRecord(*key, **asdict(scores), noise_hu=noise, noise_full_hu=noise_full))
    return records


def _in_order(
    function: Callable[[HUPair], list[SliceRecord]], pairs: Iterable[HUPair], workers: int
) -> Iterator[list[SliceRecord]]:
    """Map over threads in order, holding only a few pairs at a time (Executor.map would consume all of them)."""
    if workers <= 1:
        yield from map(function, pairs)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[list[SliceRecord]]] = deque()
        for pair in pairs:
            waiting.append(pool.submit(function, pair))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _run(denoise: HUFilter, low: HUImage, where: str) -> HUImage:
    output = denoise(low)
    if output.shape != low.shape:
        raise SeriesError(
            f"{where}: output of shape {output.shape}, but the slice is {low.shape}; a denoiser must keep the shape"
        )
    bad = int(np.sum(~np.isfinite(output)))
    if bad:
        raise SeriesError(f"{where}: {bad} output values are not finite; check the slice and the model")
    return output
