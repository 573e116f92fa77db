"""The database of the node: jobs, deliveries, commitments, pulls.

A durable change is on disk when the call returns. A fast one survives the death of the process, and may be lost in a
power cut; it is meant for what may be repeated without harm, such as sending the same object again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from ctcycle.errors import OutputError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    series TEXT NOT NULL,
    caller TEXT NOT NULL,
    state TEXT NOT NULL,
    slices INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    turn INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    strength REAL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    seconds REAL NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, turn, number);
CREATE TABLE IF NOT EXISTS deliveries (
    job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    file TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    instance TEXT NOT NULL,
    syntax TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'due',
    reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job, destination, file)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (destination, state, job);
CREATE TABLE IF NOT EXISTS strengths (
    series TEXT NOT NULL, model TEXT NOT NULL, strength REAL NOT NULL, changed REAL NOT NULL,
    PRIMARY KEY (series, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commitments (
    uid TEXT PRIMARY KEY, job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    destination TEXT NOT NULL, asked REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pulls (
    pull TEXT NOT NULL, study TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    changed REAL NOT NULL, PRIMARY KEY (pull, study)
) WITHOUT ROWID;
"""


class Database:
    """An SQLite database that all threads of the node share.

    Args:
        path: the file; created if needed.

    Raises:
        OutputError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, RLock()
        try:
            self._durable, self._fast = self._connect("FULL"), self._connect("NORMAL")
            self._durable.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise OutputError(
                f"{path}: cannot open the queue ({error}); restore it, or choose another `out`"
            ) from error

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=60)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._fast.close()
            self._durable.close()

    @contextmanager
    def change(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Yield a connection for one transaction; other threads wait.

        Raises:
            OutputError: the disk is full or fails.
        """
        connection = self._durable if durable else self._fast
        with self._lock:
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise OutputError(f"{self._path}: cannot write the queue ({error}); free up space") from error

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._lock:
            return self._durable.execute(query, values).fetchall()
