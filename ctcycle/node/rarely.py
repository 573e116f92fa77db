"""Log messages that peers can cause at will, at most one of a kind every few seconds."""

import logging
import time
from threading import Lock

_PAUSE_S = 10.0


class Rarely:
    """Logs the first message of a kind, then, after a pause, the next one with the number left out.

    Args:
        log: where to log.
        pause_s: seconds between two messages of a kind.
    """

    def __init__(self, log: logging.Logger, pause_s: float = _PAUSE_S) -> None:
        self._log, self._pause_s = log, pause_s
        self._lock = Lock()
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, kind: str, text: str) -> None:
        """Log a warning of a kind, unless there was one a moment ago."""
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(kind, -self._pause_s) < self._pause_s:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._last[kind], count = now, self._left_out.pop(kind, 0)
        self._log.warning("%s%s", text, f" ({count} more since)" if count else "")
