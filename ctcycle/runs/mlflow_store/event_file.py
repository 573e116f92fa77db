"""A persistent queue: pending events are kept in a file, so that they survive the process."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from ctcycle.atomic import write_text
from ctcycle.errors import OutputError

Event = dict[str, Any]


class EventFile:
    """A thread-safe queue of events in order of arrival, one JSON object per line; no file if it is empty.

    If the file cannot be written, for example because the disk is full, events are kept only in memory.

    Args:
        path: the file, in an existing folder; events in an existing file come first, except an incomplete last line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._events = _read(path)
        self._rewrite()

    def __len__(self) -> int:
        return len(self._events)

    def all(self) -> list[Event]:
        """Return all pending events."""
        with self._lock:
            return list(self._events)

    def add(self, event: Event) -> None:
        """Append an event."""
        with self._lock:
            self._events.append(event)
            with suppress(OSError), self.path.open("a") as stream:
                stream.write(json.dumps(event) + "\n")

    def drop(self, count: int) -> None:
        """Remove the first ``count`` events."""
        with self._lock:
            del self._events[:count]
            self._rewrite()

    def forget(self, unwanted: Callable[[Event], bool]) -> None:
        """Remove the events for which ``unwanted`` returns True."""
        with self._lock:
            self._events = [event for event in self._events if not unwanted(event)]
            self._rewrite()

    def _rewrite(self) -> None:
        if not self.path.exists():
            return  # also do not recreate a folder that was removed
        with suppress(OSError, OutputError):
            if self._events:
                write_text(self.path, "".join(json.dumps(event) + "\n" for event in self._events))
            else:
                self.path.unlink()


def _read(path: Path) -> list[Event]:
    found: list[Event] = []
    if path.exists():
        for line in path.read_text().splitlines():
            with suppress(json.JSONDecodeError):
                found.append(json.loads(line))
    return found
