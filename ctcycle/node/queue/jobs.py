"""The queue of jobs: what is to be done with each series.

A job is a set of instances of one series that were taken together. Its states::

    taken -> queued -> sending -> done
                    -> left       nothing is sent, by rule
                    -> failed     needs an operator; tried again when the node starts

A repeated step has the same result, so a job continues after a crash with the step that was not recorded as complete.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from ctcycle.node.queue.database import Database
from ctcycle.node.queue.deliveries import Delivery

State = Literal["taken", "queued", "sending", "done", "left", "failed"]


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        number: its number, in the order in which series were taken.
        series: name of its series, from `ctcycle.node.spool.hashed_name`.
        caller: AE title of the first sender.
        state: see the module.
        slices: number of instances received.
        deaths: how often the process died while it worked on the job.
        reason: why it was left or failed; or warnings.
        model: name of the model.
        strength: the strength applied; None if nothing was denoised.
        created: when it was taken, in seconds since 1970.
        changed: when its state changed, likewise.
        seconds: how long denoising took.
    """

    number: int
    series: str
    caller: str
    state: State
    slices: int
    deaths: int
    reason: str
    model: str
    strength: float | None
    created: float
    changed: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What working on a job resulted in.

    Attributes:
        deliveries: the objects to send, each with the name of a destination; if empty, the job is left.
        reason: why it is left, or warnings.
        model: name of the model.
        strength: the strength applied; None if nothing was denoised.
        seconds: how long it took.
    """

    deliveries: Sequence[tuple[str, Delivery]] = ()
    reason: str = ""
    model: str = ""
    strength: float | None = None
    seconds: float = 0.0


_SELECT = f"SELECT {', '.join(field.name for field in fields(Job))} FROM jobs "  # noqa: S608 (names of our own)


@dataclass(frozen=True)
class Jobs:
    """The jobs of a database."""

    database: Database

    def add(self, series: str, caller: str) -> int:
        """Add a job in state ``taken`` and return its number."""
        now = time.time()
        with self.database.change() as connection:
            made = connection.execute(
                "INSERT INTO jobs (series, caller, state, created, changed) VALUES (?, ?, 'taken', ?, ?)",
                (series, caller, now, now),
            )
            return int(made.lastrowid or 0)

    def queue(self, number: int, slices: int) -> None:
        """Move a job from ``taken`` to ``queued``."""
        self._update("state = 'queued', slices = ?", number, slices)

    def adopt(self, number: int, series: str, slices: int) -> None:
        """Add a job in state ``queued`` whose files exist under its number."""
        now = time.time()
        with self.database.change() as connection:
            connection.execute(
                "INSERT INTO jobs (number, series, caller, state, slices, created, changed) "
                "VALUES (?, ?, '', 'queued', ?, ?, ?)",
                (number, series, slices, now, now),
            )

    def state(self, number: int) -> State | None:
        """Return the state of a job; None if it is unknown."""
        found = self.database.all("SELECT state FROM jobs WHERE number = ?", number)
        return found[0][0] if found else None

    def drop(self, number: int) -> None:
        """Forget a job."""
        with self.database.change() as connection:
            connection.execute("DELETE FROM jobs WHERE number = ?", (number,))

    def begin(self) -> Job | None:
        """Return the next queued job, and count a death until the job is settled; None if there is none."""
        found = self._jobs("WHERE state = 'queued' ORDER BY turn, number LIMIT 1")
        if not found:
            return None
        self._update("deaths = deaths + 1", found[0].number)
        return found[0]

    def interrupted(self, job: Job) -> None:
        """Take back the death that `begin` counted: the node was stopped in an orderly way."""
        self._update("deaths = ?", job.number, job.deaths)

    def postpone(self, number: int) -> None:
        """Put a job after all that are queued."""
        self._update("turn = 1 + (SELECT MAX(turn) FROM jobs WHERE state = 'queued')", number)

    def settle(self, number: int, outcome: Outcome) -> None:
        """Record the outcome of a job: ``sending``, or ``left`` if nothing is to be sent."""
        state = "sending" if outcome.deliveries else "left"
        rows = [
            (number, destination, one.file, one.sop_class, one.instance, one.syntax)
            for destination, one in outcome.deliveries
        ]
        with self.database.change() as connection:
            connection.execute("DELETE FROM deliveries WHERE job = ?", (number,))
            connection.executemany(
                "INSERT INTO deliveries (job, destination, file, sop_class, instance, syntax) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            connection.execute(
                "UPDATE jobs SET state = ?, reason = ?, model = ?, strength = ?, seconds = ?, changed = ?, deaths = 0 "
                "WHERE number = ?",
                (state, outcome.reason, outcome.model, outcome.strength, outcome.seconds, time.time(), number),
            )

    def fail(self, number: int, reason: str) -> None:
        """Move a job to ``failed``."""
        self._update("state = 'failed', reason = ?", number, reason)

    def finish(self, number: int) -> None:
        """Move a job to ``done``."""
        self._update("state = 'done'", number)

    def retry_failed(self) -> int:
        """Give all failed jobs another chance, and return their number."""
        with self.database.change() as connection:
            connection.execute("UPDATE deliveries SET state = 'due', reason = '' WHERE state = 'refused'")
            return connection.execute(
                "UPDATE jobs SET deaths = 0, reason = '', state = "
                "CASE WHEN number IN (SELECT job FROM deliveries) THEN 'sending' ELSE 'queued' END "
                "WHERE state = 'failed'"
            ).rowcount

    def in_state(self, *states: State) -> list[Job]:
        """Return the jobs in one of some states, the oldest first."""
        marks = ", ".join("?" for _ in states)
        return self._jobs(f"WHERE state IN ({marks}) ORDER BY number", *states)

    def latest(self, count: int, *states: State) -> list[Job]:
        """Return the jobs in one of some states that changed last, the latest first."""
        marks = ", ".join("?" for _ in states)
        return self._jobs(f"WHERE state IN ({marks}) ORDER BY changed DESC LIMIT {count:d}", *states)

    def done_since(self, moment: float) -> list[Job]:
        """Return the jobs that were done since a moment."""
        return self._jobs("WHERE state = 'done' AND changed >= ?", moment)

    def counts(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        return dict(self.database.all("SELECT state, COUNT(*) FROM jobs GROUP BY state"))

    def strength(self, series: str, model: str) -> float | None:
        """Return the strength that was chosen for a series and a model; None if there is none."""
        found = self.database.all("SELECT strength FROM strengths WHERE series = ? AND model = ?", series, model)
        return None if not found else float(found[0][0])

    def keep_strength(self, series: str, model: str, strength: float) -> None:
        """Record the strength that was chosen, so that late instances get the same."""
        with self.database.change() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO strengths VALUES (?, ?, ?, ?)", (series, model, strength, time.time())
            )

    def forget_before(self, moment: float) -> list[int]:
        """Forget the jobs that were done or left before a moment, and return their numbers."""
        with self.database.change() as connection:
            connection.execute("DELETE FROM strengths WHERE changed < ?", (moment,))
            rows = connection.execute(
                "DELETE FROM jobs WHERE state IN ('done', 'left') AND changed < ? RETURNING number", (moment,)
            ).fetchall()
        return [number for (number,) in rows]

    def _update(self, assignments: str, number: int, *values: object) -> None:
        with self.database.change() as connection:
            connection.execute(
                f"UPDATE jobs SET {assignments}, changed = ? WHERE number = ?",  # noqa: S608 (texts of our own)
                (*values, time.time(), number),
            )

    def _jobs(self, condition: str, *values: object) -> list[Job]:
        return [Job(*row) for row in self.database.all(_SELECT + condition, *values)]
