"""The log file holds what the terminal showed, for every task and however it ended."""

import logging
import signal
from pathlib import Path

import pytest
from phantom_series import write_series

from ctcycle.errors import SeriesError
from ctcycle.run import main
from ctcycle.signals import StopNow
from ctcycle.tasks.terminal.console import log_to, say


def messages(path: Path) -> list[str]:
    """The lines of a log file without date and time."""
    return [line.split(" ", 2)[2] for line in path.read_text(encoding="utf-8").splitlines()]


def test_what_is_said_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say("before")
    with log_to(tmp_path / "log.txt"):
        say("a result")
        logging.getLogger("ctcycle.somewhere").warning("%s: odd", "a\x1b[31m\nERROR all is lost")
    assert capsys.readouterr().out == "before\na result\n"
    assert messages(tmp_path / "log.txt") == ["INFO a result", r"WARNING a\x1b[31m\nERROR all is lost: odd"]
    assert logging.getLogger("ctcycle").handlers == []


def test_a_step_is_printed_once_and_logged_in_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log_to(tmp_path / "outer.txt"):
        with log_to(tmp_path / "inner.txt"):
            say("step")
            logging.getLogger("ctcycle").warning("careful")
        say("all")
    assert capsys.readouterr() == ("step\nall\n", "careful\n")
    assert messages(tmp_path / "inner.txt") == ["INFO step", "WARNING careful"]
    assert messages(tmp_path / "outer.txt") == ["INFO step", "WARNING careful", "INFO all"]


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (SeriesError("in: bad; look"), "ERROR in: bad; look"),
        (KeyboardInterrupt(), "INFO interrupted by Ctrl-C; run the command again to resume"),
        (StopNow(signal.SIGTERM), "INFO interrupted by SIGTERM; run the command again to resume"),
    ],
)
def test_the_last_words_are_logged(error: BaseException, logged: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), log_to(tmp_path / "log.txt"):
        raise error
    assert messages(tmp_path / "log.txt") == [logged]


def test_a_scan_and_a_pipeline_log_their_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in")
    scan = f"{{task: scan, sources: [{{path: {tmp_path / 'in'}}}]}}"
    (tmp_path / "p.yaml").write_text(f"task: pipeline\nout: {tmp_path / 'out'}\nsteps: {{list: {scan}}}\n")
    for _ in range(2):  # the second time it is already finished
        assert main(["--config", str(tmp_path / "p.yaml")]) == 0
    shown = capsys.readouterr().out.splitlines()
    logged = (tmp_path / "out" / "log.txt").read_text()
    assert len(shown) > 5
    assert all(line in logged for line in shown)
    inner = (tmp_path / "out" / "list" / "log.txt").read_text()
    assert all(line in inner for line in shown if line[:1] != "[" and "already finished" not in line)
