"""Being asked to stop: by the keyboard (SIGINT), a scheduler (SIGTERM) or a batch system's warning (SIGUSR1).

The exit code is the shell's, 128 + the number of the signal: 130, 143 and, on Linux, 138.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_ECHO_S = 0.5
"""A signal sooner after the first is taken for its echo: timeout(1) and others signal a process and then its group."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StopNow(KeyboardInterrupt):
    """Work was given up at once because a signal asked for it.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequest:
    """Notes the first signal, so that the caller can bring its work to a good end; a second one ends the process.

    Attributes:
        code: exit code that the signal asks for; 0 while there was none.
    """

    def __init__(self) -> None:
        self.code = 0
        self._noted_at = 0.0
        self._gives_up = False
        self._process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Inside, signals come here."""
        with _handling(SIGNALS, self._note):
            yield self

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """Inside, for long work that changes nothing, the first signal is not only noted: the work is given up.

        Raises:
            StopNow: a signal came, or had come before.
        """
        self._gives_up = True
        try:
            if self.code:
                raise StopNow(self.code - 128)
            yield
        finally:
            self._gives_up = False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that was forked this moment, and is about to ignore signals
        now = time.monotonic()
        if self.code == 0:
            self.code, self._noted_at = 128 + number, now
            if self._gives_up:
                raise StopNow(number)
        elif now - self._noted_at > _ECHO_S:
            os.write(2, b"\nstopped at once by a second signal; the last checkpoint stays, the same command goes on\n")
            os._exit(128 + number)


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1 raise StopNow, as SIGINT raises KeyboardInterrupt: what is open gets closed."""
    process = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:
            os._exit(128 + number)  # a forked worker, which has nothing to close and nobody to tell
        raise StopNow(number)

    with _handling(SIGNALS[1:], stop):
        yield


@contextmanager
def _handling(numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def follow_parent(_worker: int) -> None:
    """Makes a loader worker ignore the signals that ask to stop, and end with its parent, however that ends.

    A signal to the whole group or job would else kill the worker, and with it the run before its checkpoint is written.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere torch's workers look for their parent every five seconds
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os._exit(0)
