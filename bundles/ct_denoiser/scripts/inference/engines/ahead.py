# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Computes the next slices in a thread while the last ones are read and written."""

from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

import torch

ItemT = TypeVar("ItemT")
_WAIT_S = 0.1


class _Producer(Generic[ItemT]):
    """Takes items from an iterable in a thread and hands them over one by one.

    Args:
        items: consumed in the thread only.
        count: number of items that may wait.
    """

    def __init__(self, items: Iterable[ItemT], count: int) -> None:
        self.items, self.queue = items, Queue[ItemT](count)
        self.stopped, self.ended = Event(), Event()
        self.error: BaseException | None = None
        self._threads = torch.get_num_threads()

    def run(self) -> None:
        """Hand over all items, or stop when asked to."""
        try:
            torch.set_num_threads(self._threads)  # a new thread starts with the default
            for item in self.items:
                while not self.stopped.is_set():
                    try:
                        self.queue.put(item, timeout=_WAIT_S)
                        break
                    except Full:
                        continue
                if self.stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 (raised again by the consumer)
            self.error = error
        finally:
            self.ended.set()


def ahead(items: Iterable[ItemT], count: int = 2) -> Iterator[ItemT]:
    """Yield the items of an iterable, which a thread computes up to ``count`` items ahead.

    Raises:
        BaseException: what the iterable raises, after the items before it.
    """
    producer = _Producer(items, count)
    thread = Thread(target=producer.run, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                yield producer.queue.get(timeout=_WAIT_S)
            except Empty:
                if producer.ended.is_set() and producer.queue.empty():
                    break
        if producer.error is not None:
            raise producer.error
    finally:  # also if the consumer gives up
        producer.stopped.set()
        thread.join()
