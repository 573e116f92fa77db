"""Crash reports for internal errors."""

import signal
import traceback
from collections.abc import Iterator

from ctcycle.signals import StopNow


def describe_crash(error: BaseException) -> str:
    """Return the traceback of ``error`` and its causes, the first cause first.

    Messages of pydicom errors are omitted: they quote the header, which may identify a patient.
    """
    parts = []
    for one in reversed(list(_chain(error))):
        frames = traceback.extract_tb(one.__traceback__)
        quotes = any("pydicom" in frame.filename for frame in frames)
        message = "(message omitted, it may quote a DICOM header)" if quotes else str(one)
        listed = "".join(traceback.format_list(frames))
        parts.append(f"Traceback (most recent call last):\n{listed}{type(one).__name__}: {message}\n")
    return "\nwhich led to:\n\n".join(parts)


def describe_stop(stop: KeyboardInterrupt) -> str:
    """Return a sentence about a task that a signal ended."""
    name = signal.Signals(stop.number).name if isinstance(stop, StopNow) else "Ctrl-C"
    return f"interrupted by {name}; run the command again to resume"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
