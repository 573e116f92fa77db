"""Stop requests: Ctrl-C (SIGINT), a scheduler (SIGTERM) or a batch system's warning (SIGUSR1).

Exit codes follow the shell's convention, 128 + signal number: 130, 143 and, on Linux, 138.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""The signals that ask to stop; Windows has no SIGUSR1."""
_ECHO_S = 0.5
"""A second signal within this time counts as an echo: timeout(1) and others signal a process and then its group."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StopNow(KeyboardInterrupt):
    """Interrupts work at once because of a signal.

    Attributes:
        number: the signal number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequest:
    """Records the first signal so that the caller can finish cleanly; a second signal ends the process.

    Args:
        rank: number of this process if a launcher has started several; then only the first one reports the signal,
            and a second signal has no effect: launchers repeat signals, and kill processes that take too long.

    Attributes:
        code: exit code for the signal that was received; 0 if none was.
    """

    def __init__(self, rank: int | None = None) -> None:
        self.code, self.rank = 0, rank
        self._received_at = 0.0
        self._interrupts = False
        self._process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Record signals while the context is open."""
        with _handling(SIGNALS, self._record):
            yield self

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """Interrupt work at the first signal; for long work that changes nothing.

        Raises:
            StopNow: a signal arrived, now or before the context was entered.
        """
        self._interrupts = True
        try:
            if self.code:
                raise StopNow(self.code - 128)
            yield
        finally:
            self._interrupts = False

    def _record(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that was just forked and does not ignore signals yet
        now = time.monotonic()
        if self.code == 0:
            self.code, self._received_at = 128 + number, now
            if self._interrupts:
                raise StopNow(number)
            self._announce()
        elif self.rank is None and now - self._received_at > _ECHO_S:
            _tell("killed by a second signal; the last checkpoint is intact, run it again to resume")
            os._exit(128 + number)

    def _announce(self) -> None:
        if self.rank is None:
            _tell("stopping after this iteration; send the signal (Ctrl-C) again to stop now")
        elif self.rank == 0:
            _tell("stopping all ranks after this iteration")


def _tell(text: str) -> None:
    """Write a line to standard error at once, whatever else is being written."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Raise StopNow on SIGTERM and SIGUSR1, as SIGINT raises KeyboardInterrupt, so that open resources are closed."""
    process = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:
            os._exit(128 + number)  # a forked worker, which has nothing to close
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
    """Make a loader worker ignore stop signals and exit with its parent, however the parent ends.

    Otherwise a signal to the whole group or job kills the worker, and the run fails before it writes its checkpoint.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # on other systems torch's workers poll for their parent every five seconds
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the call
            os._exit(0)
