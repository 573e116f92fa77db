"""Send what is due to one destination, in order, with growing pauses while it does not work."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from ctcycle.config.tasks.node import DestinationSettings
from ctcycle.node.counts import Counts
from ctcycle.node.peers.asking import Asker
from ctcycle.node.peers.peer import Peer, PeerError
from ctcycle.node.queue.deliveries import Answer, Deliveries, Delivery
from ctcycle.node.queue.jobs import Jobs
from ctcycle.node.spool import Spool

_log = logging.getLogger(__name__)


@dataclass
class Sender:
    """Sends to one destination.

    Attributes:
        name: of the destination.
        settings: its settings.
        peer: the destination.
        spool: the objects.
        jobs: the queue.
        deliveries: what is due.
        counts: counters.
        complete: called with the number of a job of which nothing is due any more.
        asker: asks for storage commitment; None if that is not wanted.
        problem: why the last attempt failed; empty if it did not.
    """

    name: str
    settings: DestinationSettings
    peer: Peer
    spool: Spool
    jobs: Jobs
    deliveries: Deliveries
    counts: Counts
    complete: Callable[[int], object]
    asker: Asker | None = None
    problem: str = ""
    _failures: int = field(default=0, repr=False)

    def step(self, stop: Event) -> bool:
        """Send what is due over one connection; return whether there was anything.

        After a failure, wait before returning.
        """
        due = self.deliveries.next(self.name)
        try:
            if not due:
                return self.asker is not None and self.asker.ask()
            self._send(due, stop)
        except PeerError as error:
            self._failed(str(error))
            stop.wait(self._pause())
        return True

    def _send(self, due: list[Delivery], stop: Event) -> None:
        items = [(one, self.spool.job(one.job) / one.file) for one in due]
        there = [(one, path) for one, path in items if path.exists()]
        for one, path in items:
            if not path.exists():
                self.deliveries.answered(one, self.name, "refused", "a file is missing from the spool; send it again")
        jobs = list(dict.fromkeys(one.job for one in due))
        try:
            for delivery, answer, reason in self.peer.send(there) if there else ():
                while jobs[0] != delivery.job:
                    self.complete(jobs.pop(0))
                self._note(delivery, answer, reason)
                if stop.is_set():
                    break
        finally:
            for job in jobs:
                self.complete(job)

    def _note(self, delivery: Delivery, answer: Answer, reason: str) -> None:
        """Record an answer."""
        if answer == "refused":
            _log.warning("job %d: %s %s", delivery.job, self.name, reason)
            self.deliveries.answered(delivery, self.name, "refused", f"{self.name} {reason}")
        else:
            self.deliveries.answered(delivery, self.name, "stored" if self.settings.commitment else "sent")
            self.counts.sent(self.name)
        self._worked()

    def _worked(self) -> None:
        if self._failures:
            _log.info("%s: answers again", self.name)
        self._failures, self.problem = 0, ""

    def _failed(self, reason: str) -> None:
        if not self._failures or reason != self.problem:
            _log.warning("%s: %s; objects wait in the spool", self.name, reason)
        self._failures, self.problem = self._failures + 1, reason
        self.counts.failed(self.name)

    def _pause(self) -> float:
        doubled: float = self.settings.retry_seconds * 2 ** min(self._failures - 1, 30)
        return min(doubled, self.settings.retry_max_seconds)
