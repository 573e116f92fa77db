"""Standard output and standard error that never fail and never send control characters to a terminal."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ctcycle.errors import printable


class Outlet(io.TextIOBase):
    r"""Passes text on to a stream; if the stream is closed, full or has no reader, the text is dropped instead.

    Control characters, which names, headers and servers may contain, are shown as escapes such as ``\x1b``, and so are
    characters that the stream cannot encode. Carriage returns at the start or end, which draw progress bars, stay.

    Args:
        stream: the stream; None if the process was started without it.

    Attributes:
        lost: the error because of which text was dropped; None if there was none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def fileno(self) -> int:
        """Return the descriptor of the stream.

        Raises:
            OSError: it has none.
        """
        return super().fileno() if self._stream is None else self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def writable(self) -> bool:
        """Return True: any text is accepted."""
        return True

    def write(self, text: str) -> int:
        """Write ``text`` as far as possible; return its length."""
        middle = text.strip("\r")
        start, _, end = text.partition(middle) if middle else (text, "", "")
        shown = f"{start}{printable(middle)}{end}".encode(self.encoding, "backslashreplace").decode(self.encoding)
        self._attempt(lambda stream: stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Flush the stream as far as possible."""
        self._attempt(lambda stream: stream.flush())

    def _attempt(self, action: Callable[[TextIO], object]) -> None:
        if self._stream is None or self._stream.closed:
            return
        try:
            action(self._stream)
        except OSError as error:
            self.lost = self.lost or error
            self._drop()

    def _drop(self) -> None:
        """Lead the stream nowhere, so that what it still holds cannot fail when the process ends."""
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            self.flush()


@contextmanager
def safe_streams(*, silent: bool = False) -> Iterator[None]:
    """Put an `Outlet` in the place of `sys.stdout` and `sys.stderr` inside the context.

    Args:
        silent: drop everything that is written to them.
    """
    _reserve_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Outlet(None if silent else stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _reserve_descriptors() -> None:
    """Open closed standard descriptors to nowhere; otherwise the next file gets the number, and messages go into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
