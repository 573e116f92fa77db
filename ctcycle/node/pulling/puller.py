"""Fetch the studies of a query one by one, no faster than allowed, and resume after a stop."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from pydicom.datadict import tag_for_keyword

from ctcycle.config.tasks.node import PullSettings
from ctcycle.errors import ConfigError
from ctcycle.node.peers.peer import PeerError
from ctcycle.node.pulling.archive import Archive
from ctcycle.node.queue.pulls import Pulls

_MOST_ATTEMPTS = 5
_RETRY_S, _MOST_RETRY_S = 5.0, 300.0
_BUSY_S = 2.0

_log = logging.getLogger(__name__)


@dataclass
class Puller:
    """Fetches the studies of one query.

    Attributes:
        name: of the pull.
        settings: query and rate.
        archive: the archive.
        pulls: what was found and fetched.
        busy: whether the node has enough to do.
        problem: why the last attempt failed; empty if it did not.
    """

    name: str
    settings: PullSettings
    archive: Archive
    pulls: Pulls
    busy: Callable[[], bool]
    problem: str = ""
    _asked: bool = field(default=False, repr=False)
    _next: float = field(default=0.0, repr=False)
    _failures: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        for keyword in self.settings.query:
            if tag_for_keyword(keyword) is None:
                raise ConfigError(f"pull.{self.name}.query: '{keyword}' is not a DICOM keyword, such as StudyDate")

    def step(self, stop: Event) -> bool:
        """Fetch the next study; return whether there was one. After a failure, wait before returning."""
        try:
            if not self._asked:
                new = self.pulls.add(self.name, self.archive.studies(self.settings.query))
                _log.info("pull %s: %d studies match, %d of them new", self.name, self.pulls.count(self.name), new)
                self._asked = True
            study = self.pulls.next(self.name)
            if study is None:
                return False
            if self.busy() or time.monotonic() < self._next:
                stop.wait(min(_BUSY_S, max(0.1, self._next - time.monotonic())))
                return True
            self._next = time.monotonic() + 3600 / self.settings.studies_per_hour
            self._fetch(study)
        except PeerError as error:
            self._failures += 1
            if str(error) != self.problem:
                _log.warning("pull %s: %s %s", self.name, self.settings.source, error)
            self.problem = str(error)
            stop.wait(min(_MOST_RETRY_S, _RETRY_S * 2 ** min(self._failures - 1, 30)))
        return True

    def _fetch(self, study: str) -> None:
        attempts = self.pulls.begin(self.name, study)
        try:
            series = self.archive.fetch(study)
        except PeerError:
            if attempts >= _MOST_ATTEMPTS:
                self.pulls.end(self.name, study, "failed")
                _log.warning("pull %s: gave up on a study after %d attempts", self.name, attempts)
            raise
        self.pulls.end(self.name, study, "fetched")
        self._failures, self.problem = 0, ""
        _log.info("pull %s: fetched a study of %d CT series", self.name, series)
