"""What a task shows on the terminal and writes to its log file."""

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
    """Shows log records without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one record."""
        tqdm.write(self.format(record), file=sys.stderr)


class _LogFile(logging.FileHandler):
    """Adds log records to a file; that its disk is full is for those to tell who write what matters."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Keeps silent, where logging would print a traceback."""

    def close(self) -> None:
        """Closes the file."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Inside, what ctcycle logs is shown, and added to ``path``."""
    try:
        handlers = [_BesideBars(), _LogFile(path, encoding="utf-8")]
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another `out`") from error
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
        handlers[1].handle(logging.LogRecord("ctcycle", level, "", 0, text, None, None))  # the terminal gets it last
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
