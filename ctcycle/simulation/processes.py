"""Work shared among processes, each with one thread: for what numpy and scikit-image compute on their own."""

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


def share_out(
    work: Callable[[ItemT], ResultT], items: Sequence[ItemT], workers: int
) -> Iterator[tuple[ItemT, ResultT]]:
    """Calls ``work`` for each item, in this process or in new ones.

    Args:
        work: a function that a new interpreter can import, as are its arguments.
        items: what it is called with, one after another.
        workers: processes; 1 is this process.

    Yields:
        Each item with its result, in the order in which they are done.

    Raises:
        CtcycleError: a process died.
    """
    if workers <= 1 or len(items) <= 1:
        yield from ((item, work(item)) for item in items)
        return
    # New interpreters instead of forks: the caller may have started threads (torch, MLflow), and forks inherit locks.
    pool = ProcessPoolExecutor(min(workers, len(items)), multiprocessing.get_context("spawn"))
    try:
        with _one_thread_each():
            futures = {pool.submit(work, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise CtcycleError(
            "simulation: a worker process died; run again with fewer workers, what is done is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile keep numerical libraries to one thread: their number is the parallelism."""
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
