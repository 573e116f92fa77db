"""What each destination has to get, and what it has acknowledged.

A delivery is ``due``, then ``stored`` when the destination has answered C-STORE or STOW-RS with success, and ``sent``
when that is final: at once, or after the destination has committed itself to keep the object. It is ``refused`` if the
destination will never take it.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ctcycle.node.queue.database import Database

Answer = Literal["stored", "sent", "refused"]


@dataclass(frozen=True)
class Delivery:
    """One object that a destination has to get.

    Attributes:
        job: number of its job.
        file: path relative to the folder of the job.
        sop_class: SOPClassUID.
        instance: SOPInstanceUID.
        syntax: its transfer syntax.
    """

    job: int
    file: str
    sop_class: str
    instance: str
    syntax: str


@dataclass(frozen=True)
class Deliveries:
    """The deliveries of a database."""

    database: Database

    def next(self, destination: str, most: int = 500) -> list[Delivery]:
        """Return what is due for a destination, in the order of the jobs, up to a number of objects."""
        rows = self.database.all(
            "SELECT job, file, sop_class, instance, syntax FROM deliveries JOIN jobs ON number = job "
            "WHERE destination = ? AND deliveries.state = 'due' AND jobs.state = 'sending' ORDER BY job, file LIMIT ?",
            destination,
            most,
        )
        return [Delivery(*row) for row in rows]

    def answered(self, delivery: Delivery, destination: str, answer: Answer, reason: str = "") -> None:
        """Record what a destination answered; this may be lost in a power cut, and then it is sent again."""
        with self.database.change(durable=False) as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, reason = ? WHERE job = ? AND destination = ? AND file = ?",
                (answer, reason, delivery.job, destination, delivery.file),
            )

    def is_complete(self, job: int) -> bool:
        """Return whether no destination still has to get or to commit anything of a job."""
        open_ones = self.database.all(
            "SELECT 1 FROM deliveries WHERE job = ? AND state IN ('due', 'stored') LIMIT 1", job
        )
        return not open_ones

    def refusal(self, job: int) -> str:
        """Return why a destination refused an object of a job; empty if none did."""
        found = self.database.all("SELECT reason FROM deliveries WHERE job = ? AND state = 'refused' LIMIT 1", job)
        return str(found[0][0]) if found else ""

    def counts(self) -> Counter[tuple[str, str]]:
        """Return the number of deliveries by destination and state, of jobs that are not done."""
        rows = self.database.all(
            "SELECT destination, deliveries.state, COUNT(*) FROM deliveries JOIN jobs ON number = job "
            "WHERE jobs.state != 'done' GROUP BY destination, deliveries.state"
        )
        return Counter({(destination, state): count for destination, state, count in rows})

    # storage commitment

    def uncommitted(self, destination: str, asked_before: float) -> dict[int, list[Delivery]]:
        """Return what a destination has stored but not committed, by job, unless it was asked since a moment."""
        rows = self.database.all(
            "SELECT job, file, sop_class, instance, syntax FROM deliveries WHERE destination = ? AND state = 'stored' "
            "AND job NOT IN (SELECT job FROM commitments WHERE destination = ? AND asked >= ?) "
            "AND job NOT IN (SELECT job FROM deliveries WHERE destination = ? AND state = 'due') ORDER BY job, file",
            *(destination, destination, asked_before, destination),
        )
        found: dict[int, list[Delivery]] = {}
        for row in rows:
            found.setdefault(row[0], []).append(Delivery(*row))
        return found

    def asked(self, uid: str, job: int, destination: str) -> None:
        """Record that commitment was asked for, before the request is sent."""
        with self.database.change() as connection:
            connection.execute("INSERT INTO commitments VALUES (?, ?, ?, ?)", (uid, job, destination, time.time()))

    def withdrawn(self, uid: str) -> None:
        """Forget a request that was not sent."""
        with self.database.change() as connection:
            connection.execute("DELETE FROM commitments WHERE uid = ?", (uid,))

    def not_offered(self, job: int, destination: str) -> None:
        """Accept the answers of a destination that offers no storage commitment."""
        with self.database.change() as connection:
            connection.execute(
                "UPDATE deliveries SET state = 'sent' WHERE job = ? AND destination = ? AND state = 'stored'",
                (job, destination),
            )

    def reported(self, uid: str, committed: Iterable[str], failed: Iterable[str]) -> int | None:
        """Record a report: what is committed is sent, what failed is due again.

        Args:
            uid: the transaction.
            committed: SOPInstanceUIDs.
            failed: likewise.

        Returns:
            The number of the job; None if nobody asked for this transaction.
        """
        with self.database.change() as connection:
            found = connection.execute("SELECT job, destination FROM commitments WHERE uid = ?", (uid,)).fetchone()
            if found is None:
                return None
            for state, instances in (("sent", committed), ("due", failed)):
                connection.executemany(
                    "UPDATE deliveries SET state = ? WHERE job = ? AND destination = ? AND instance = ? "
                    "AND state = 'stored'",
                    [(state, *found, instance) for instance in instances],
                )
            connection.execute("DELETE FROM commitments WHERE uid = ?", (uid,))
        return int(found[0])
