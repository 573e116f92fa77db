# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Silence of pydicom, whose warnings quote the values of elements, patient names among them."""

import logging
import warnings
from contextlib import ExitStack
from threading import Lock
from typing import Self


class _Silence:
    """Holds as long as any thread is inside: what it changes belongs to the process, not to a thread.

    If each thread restored what it found, one that leaves early would let the warnings of the others through, and one
    that leaves late would keep the silence for good.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._undo = Lock(), 0, ExitStack()

    def __enter__(self) -> Self:
        with self._lock:
            if not self._inside:
                logger = logging.getLogger("pydicom")
                self._undo.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)
                self._undo.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._inside += 1
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._undo.close()


_SILENCE = _Silence()


def quiet() -> _Silence:
    """Return a context in which warnings about odd values are suppressed, in all threads."""
    return _SILENCE
