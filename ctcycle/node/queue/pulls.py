"""Which studies each pull has found and fetched."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ctcycle.node.queue.database import Database


@dataclass(frozen=True)
class Pulls:
    """The pulls of a database."""

    database: Database

    def add(self, pull: str, studies: Iterable[str]) -> int:
        """Record studies that match, and return how many were not known."""
        rows = [(pull, study, time.time()) for study in dict.fromkeys(studies)]
        with self.database.change() as connection:
            return connection.executemany(
                "INSERT OR IGNORE INTO pulls (pull, study, state, changed) VALUES (?, ?, 'found', ?)", rows
            ).rowcount

    def next(self, pull: str) -> str | None:
        """Return a study that is to be fetched, those that failed last; None if all are."""
        found = self.database.all(
            "SELECT study FROM pulls WHERE pull = ? AND state = 'found' ORDER BY attempts, study LIMIT 1",
            pull,
        )
        return str(found[0][0]) if found else None

    def begin(self, pull: str, study: str) -> int:
        """Count an attempt to fetch a study, and return their number."""
        with self.database.change() as connection:
            connection.execute(
                "UPDATE pulls SET attempts = attempts + 1, changed = ? WHERE pull = ? AND study = ?",
                (time.time(), pull, study),
            )
        return int(self.database.all("SELECT attempts FROM pulls WHERE pull = ? AND study = ?", pull, study)[0][0])

    def end(self, pull: str, study: str, state: Literal["fetched", "failed"]) -> None:
        """Record what became of a study."""
        with self.database.change() as connection:
            connection.execute(
                "UPDATE pulls SET state = ?, changed = ? WHERE pull = ? AND study = ?",
                (state, time.time(), pull, study),
            )

    def count(self, pull: str) -> int:
        """Return the number of studies that are known."""
        return int(self.database.all("SELECT COUNT(*) FROM pulls WHERE pull = ?", pull)[0][0])

    def counts(self) -> list[tuple[str, str, int]]:
        """Return the number of studies by pull and state."""
        return [
            (str(pull), str(state), int(count))
            for pull, state, count in self.database.all(
                "SELECT pull, state, COUNT(*) FROM pulls GROUP BY pull, state ORDER BY pull, state"
            )
        ]
