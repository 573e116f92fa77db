"""Parallel processes with one numerical thread each, for work done by numpy and scikit-image."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from ctcycle.errors import CtcycleError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def available_cores() -> int:
    """Return the number of cores that this process may use, which a batch system or ``taskset`` may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_out(
    work: Callable[[ItemT], ResultT], items: Sequence[ItemT], workers: int
) -> Iterator[tuple[ItemT, ResultT]]:
    """Call ``work`` on each item, in this process or in worker processes.

    Args:
        work: a function that can be pickled, as must be its arguments and results.
        items: the arguments, one per call.
        workers: number of processes; 1 uses the current process.

    Yields:
        Each item with its result, in order of completion.

    Raises:
        CtcycleError: a worker process died.
    """
    if workers <= 1 or len(items) <= 1:
        yield from ((item, work(item)) for item in items)
        return
    # Spawn instead of fork: the caller may have started threads (torch, MLflow), whose locks a fork would inherit.
    pool = ProcessPoolExecutor(min(workers, len(items)), multiprocessing.get_context("spawn"))
    try:
        with _one_thread_each():
            futures = {pool.submit(work, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise CtcycleError("a worker process died; rerun with fewer workers (finished work is kept)") from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit numerical libraries to one thread in processes started in this context."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
