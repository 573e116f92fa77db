"""The kinds of failure, and the exit code of the program for each.

A message is one sentence: ``<where>: <what is wrong, with the value found>; <what is allowed or what to do>``.
It identifies a series by UID or path, never by patient.
"""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and line break, marks that reverse the writing direction, and lone surrogates."""


def printable(text: str) -> str:
    r"""Return text with an escape such as ``\x1b`` for each character that could control a terminal.

    Bytes of file names that are not UTF-8 are shown as ``\xe4``. Tabs and line breaks stay.
    """
    return _CONTROL.sub(_escape, text)


def one_line(text: str) -> str:
    r"""Return `printable` text with ``\n`` for each line break, so that a name cannot pass for a second message."""
    return printable(text).replace("\n", r"\n")


def is_text(text: str) -> bool:
    """Return whether text is valid Unicode; the name of a file is not if its bytes are not UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class CtcycleError(ValueError):
    """A failure caused by the input, the config or the machine, not by a bug."""

    exit_code: int = 1


class ConfigError(CtcycleError):
    """A config or command line that cannot be run; raised before any output is written."""

    exit_code = 2


class SeriesError(CtcycleError):
    """Image data that cannot be used."""

    exit_code = 3


class DamagedError(SeriesError):
    """A file that cannot be read although its name or signature marks it as an image."""


class ManifestError(CtcycleError):
    """A manifest that is unreadable, contradicts itself or does not fit the task."""

    exit_code = 3


class BundleError(CtcycleError):
    """A run, checkpoint or bundle that cannot be loaded."""

    exit_code = 4


class OutputError(CtcycleError):
    """Output that cannot be written: it already exists, the disk is full, or the folder is read-only."""

    exit_code = 4


class DivergedError(CtcycleError):
    """Training that produced NaN or infinity, or a denoiser that does not denoise."""

    exit_code = 5


class StoppedError(CtcycleError):
    """A run stopped by SIGINT, SIGTERM, SIGUSR1 or its config, after it wrote its checkpoint.

    Attributes:
        exit_code: 130, 143 or 138 after a signal, 0 if the config requested the stop.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
