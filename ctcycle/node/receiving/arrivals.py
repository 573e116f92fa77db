"""Decide when a waiting series is complete, and take it as a job."""

import logging
import time
from dataclasses import dataclass, field
from threading import Lock

from ctcycle.config.tasks.node import CompletionSettings
from ctcycle.node.queue.jobs import Jobs
from ctcycle.node.spool import Spool, Stored

_SETTLE_S = 0.5
"""Wait after the announced number has arrived, for what the sender may still repeat."""

_log = logging.getLogger(__name__)


@dataclass
class _Waiting:
    last: float
    announced: int = 0
    count: int = 0


@dataclass
class Arrivals:
    """The series that are being received.

    Attributes:
        settings: when a series is complete.
        spool: the objects.
        jobs: the queue.
    """

    settings: CompletionSettings
    spool: Spool
    jobs: Jobs
    _series: dict[str, _Waiting] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def recover(self) -> None:
        """Wait again for what a stopped node left incomplete, and finish what it had begun to take."""
        for job in self.jobs.in_state("taken"):
            self._finish_taking(job.series, job.number)
        now = time.monotonic()
        for series, count in self.spool.waiting().items():
            self._series[series] = _Waiting(now, count=count)

    def arrived(self, stored: Stored, announced: int) -> None:
        """Note an object that is on disk."""
        with self._lock:
            waiting = self._series.setdefault(stored.series, _Waiting(0.0))
            waiting.last, waiting.count = time.monotonic(), stored.count
            waiting.announced = max(waiting.announced, announced)

    def take_complete(self) -> int:
        """Take the series that are complete, and return their number.

        Raises:
            OutputError: the queue cannot be written.
            OSError: a folder cannot be moved.
        """
        now = time.monotonic()
        with self._lock:
            due = [series for series, waiting in self._series.items() if self._is_complete(waiting, now)]
        for series in due:
            number = self.jobs.add(series, self.spool.caller(series))
            with self._lock:
                self._series.pop(series, None)  # before the folder is moved: a late instance starts to wait again
            self._finish_taking(series, number)
        return len(due)

    def receiving(self) -> int:
        """Return the number of series that are being received."""
        with self._lock:
            return len(self._series)

    def _is_complete(self, waiting: _Waiting, now: float) -> bool:
        quiet = now - waiting.last
        all_there = self.settings.announced and 0 < waiting.announced <= waiting.count
        return quiet >= (min(_SETTLE_S, self.settings.quiet_seconds) if all_there else self.settings.quiet_seconds)

    def _finish_taking(self, series: str, number: int) -> None:
        if not self.spool.take(series, number):
            self.jobs.drop(number)
            return
        slices = len(self.spool.sources(number))
        self.jobs.queue(number, slices)
        _log.info("job %d: series complete, %d instances", number, slices)
