"""Terminal output and log files of tasks."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from ctcycle.errors import CtcycleError, OutputError, StoppedError, one_line, printable
from ctcycle.tasks.terminal.crashes import describe_crash, describe_stop

_logger = logging.getLogger("ctcycle")


def say(text: str) -> None:
    """Print text without breaking a progress bar, and append it to the log files."""
    tqdm.write(text)
    _append(logging.INFO, text)


def _append(level: int, text: str) -> None:
    """Append text to the open log files only."""
    record = logging.LogRecord(_logger.name, level, "", 0, text, None, None)
    for handler in _log_files():
        handler.handle(record)


def _log_files() -> "list[_LogFile]":
    return [handler for handler in _logger.handlers if isinstance(handler, _LogFile)]


class _BesideBars(logging.Handler):
    """Prints log records without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record on one line."""
        tqdm.write(one_line(self.format(record)), file=sys.stderr)


class _LogFile(logging.FileHandler):
    """Appends log records to a file and ignores write errors; a full disk is reported where results are written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, fit for a terminal."""
        text = super().format(record)
        return one_line(text) if record.pathname else printable(text)  # `say` and errors may have several lines

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Ignore the error; logging would print a traceback."""

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Print the log records of ctcycle inside the context, and append all messages to ``path``.

    Contexts may be nested, as in pipelines: messages are printed once and appended to every file.

    Raises:
        OutputError: the file cannot be opened.
    """
    try:
        opened: list[logging.Handler] = [_LogFile(path)]
    except OSError as error:
        raise OutputError(f"{path}: cannot write ({error.strerror}); choose another `out`") from error
    if not _log_files():
        opened.append(_BesideBars())
    _logger.setLevel(logging.INFO)
    for handler in opened:
        _logger.addHandler(handler)
    try:
        yield
    except BaseException as error:
        level = logging.INFO if isinstance(error, StoppedError | KeyboardInterrupt) else logging.ERROR
        opened[0].handle(logging.LogRecord(_logger.name, level, "", 0, _last_words(error), None, None))
        raise  # the terminal shows it at the end
    finally:
        for handler in opened:
            _logger.removeHandler(handler)
            handler.close()


def _last_words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return describe_stop(error)
    return str(error) if isinstance(error, CtcycleError) else describe_crash(error)
