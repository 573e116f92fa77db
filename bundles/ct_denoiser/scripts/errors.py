# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""What can go wrong, and the exit code that each kind of failure ends the program with.

A message is one sentence: ``<where>: <what is wrong, with the value found>; <what is allowed or what to do>``.
A series is named by its UID or its path, never by its patient.
"""


class CtcycleError(ValueError):
    """Any failure that is the input's, the config's or the machine's, not the program's."""

    exit_code: int = 1


class ConfigError(CtcycleError):
    """A config or a command line that cannot be run; raised before any output is made."""

    exit_code = 2


class SeriesError(CtcycleError):
    """Image data that cannot be used."""

    exit_code = 3


class DamagedError(SeriesError):
    """A file that by its name or mark is an image, but cannot be read."""


class ManifestError(CtcycleError):
    """A manifest that cannot be read, contradicts itself or does not serve the task."""

    exit_code = 3


class BundleError(CtcycleError):
    """A run, checkpoint or bundle that cannot be loaded."""

    exit_code = 4


class OutputError(CtcycleError):
    """Output that cannot be written: exists already, disk full, read-only."""

    exit_code = 4


class DivergedError(CtcycleError):
    """Training that left the finite numbers."""

    exit_code = 5


class StoppedError(CtcycleError):
    """A run that was asked to stop, by SIGINT, SIGTERM, SIGUSR1 or its config, and has written its checkpoint.

    Attributes:
        exit_code: 130, 143 or 138 after a signal, 0 where the config asked for the stop.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
