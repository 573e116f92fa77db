"""Terminal output and log files of tasks."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from ctcycle.errors import CtcycleError, OutputError, StoppedError
from ctcycle.tasks.crashes import describe_crash


def say(text: str) -> None:
    """Print a line without breaking a progress bar."""
    tqdm.write(text)


class _BesideBars(logging.Handler):
    """Prints log records without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        tqdm.write(self.format(record), file=sys.stderr)


class _LogFile(logging.FileHandler):
    """Appends log records to a file and ignores write errors; a full disk is reported where results are written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Ignore the error; logging would print a traceback."""

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Print the log records of ctcycle inside the context, and append them to ``path``.

    Raises:
        OutputError: the file cannot be opened.
    """
    try:
        handlers = [_BesideBars(), _LogFile(path, encoding="utf-8")]
    except OSError as error:
        raise OutputError(f"{path}: cannot write ({error.strerror}); choose another `out`") from error
    handlers[1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("ctcycle")
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    except Exception as error:
        level = logging.INFO if isinstance(error, StoppedError) else logging.ERROR
        text = str(error) if isinstance(error, CtcycleError) else describe_crash(error)
        handlers[1].handle(
            logging.LogRecord("ctcycle", level, "", 0, text, None, None)
        )  # the terminal prints it at the end
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
