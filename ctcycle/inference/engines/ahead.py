"""Reads the next slices and writes the last ones in threads, while the network computes in the calling thread.

The network stays in the calling thread since glibc's memory for other threads makes it up to a tenth slower.
"""

from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
_WAIT_S = 0.1


class _Line(Generic[ItemT]):
    """Items on their way from one thread to another.

    Args:
        count: number of items that may wait.

    Attributes:
        error: what stopped the giving side; the taking side raises it at once.
    """

    def __init__(self, count: int) -> None:
        self.error: BaseException | None = None
        self._queue = Queue[ItemT](count)
        self._complete, self._closed = Event(), Event()

    def give(self, items: Iterable[ItemT]) -> None:
        """Hand over all items, or stop when the taking side has ended."""
        for item in items:
            while not self._closed.is_set():
                try:
                    self._queue.put(item, timeout=_WAIT_S)
                    break
                except Full:
                    continue
            if self._closed.is_set():
                return
        self._complete.set()

    def take(self) -> Iterator[ItemT]:
        """Yield the items as they come."""
        while self.error is None:
            try:
                yield self._queue.get(timeout=_WAIT_S)
            except Empty:
                if self._complete.is_set() and self._queue.empty():
                    return
        raise self.error

    def close(self) -> None:
        """Take no more items."""
        self._closed.set()


def ahead(items: Iterable[ItemT], count: int = 2) -> Iterator[ItemT]:
    """Yield the items of an iterable, which a thread computes up to ``count`` items ahead.

    Raises:
        BaseException: what the iterable raises.
    """
    line = _Line[ItemT](count)

    def give() -> None:
        try:
            line.give(items)
        except BaseException as error:  # noqa: BLE001 (raised again by `take`)
            line.error = error

    thread = Thread(target=give, name="ahead", daemon=True)
    thread.start()
    try:
        yield from line.take()
    finally:  # also if the consumer gives up
        line.close()
        thread.join()


def written_meanwhile(items: Iterable[ItemT], write: Callable[[Iterator[ItemT]], object], count: int = 2) -> None:
    """Compute items in this thread, while another one writes those before.

    Args:
        items: computed one by one.
        write: consumes the items; called in the thread. If computing fails or is interrupted, its iterator raises.
        count: number of items that may wait.

    Raises:
        BaseException: what ``items`` or ``write`` raises, once the thread has ended.
    """
    line = _Line[ItemT](count)
    failed: list[BaseException] = []

    def take() -> None:
        try:
            write(line.take())
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failed.append(error)
        finally:
            line.close()

    thread = Thread(target=take, name="writing", daemon=True)
    thread.start()
    try:
        line.give(items)
        thread.join()
    except BaseException as error:
        line.error = error
        thread.join()
        raise
    if failed:
        raise failed[0]
