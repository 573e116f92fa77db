"""A queue in a file: what is to be done is in it before it is done, and survives the process."""

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
    """Events in the order in which they came, one JSON object a line; there is no file where there is none.

    A disk that takes no more is no failure: events are then kept in memory only. Threads may share it.

    Args:
        path: the file, in a folder that exists; what is in it already comes first, but for a torn last line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._events = _read(path)
        self._rewrite()

    def __len__(self) -> int:
        return len(self._events)

    def all(self) -> list[Event]:
        """The events there are now."""
        with self._lock:
            return list(self._events)

    def add(self, event: Event) -> None:
        """Appends one event."""
        with self._lock:
            self._events.append(event)
            with suppress(OSError), self.path.open("a") as stream:
                stream.write(json.dumps(event) + "\n")

    def drop(self, count: int) -> None:
        """Takes out the first ``count`` events."""
        with self._lock:
            del self._events[:count]
            self._rewrite()

    def forget(self, unwanted: Callable[[Event], bool]) -> None:
        """Takes out the events that are ``unwanted``."""
        with self._lock:
            self._events = [event for event in self._events if not unwanted(event)]
            self._rewrite()

    def _rewrite(self) -> None:
        if not self.path.exists():
            return  # nor is a folder made again that was removed
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
