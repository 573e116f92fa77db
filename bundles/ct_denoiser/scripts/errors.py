# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The kinds of failure, and the exit code of the program for each.

A message is one sentence: ``<where>: <what is wrong, with the value found>; <what is allowed or what to do>``.
It identifies a series by UID or path, never by patient.
"""


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
    """Training that produced NaN or infinity."""

    exit_code = 5


class StoppedError(CtcycleError):
    """A run stopped by SIGINT, SIGTERM, SIGUSR1 or its config, after it wrote its checkpoint.

    Attributes:
        exit_code: 130, 143 or 138 after a signal, 0 if the config requested the stop.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
