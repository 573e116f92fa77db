"""Standard streams that are closed, full, without a reader or not UTF-8, and text that would control a terminal."""

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from phantom_series import write_series

from ctcycle.tasks.terminal.streams import Outlet, safe_streams

ROOT = Path(__file__).parents[3]


def outlet(encoding: str = "utf-8") -> tuple[Outlet, io.BytesIO]:
    """An outlet, and the bytes that it passes on."""
    raw = io.BytesIO()
    return Outlet(io.TextIOWrapper(raw, encoding=encoding, write_through=True)), raw


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größer, 50 %\tend\n", "größer, 50 %\tend\n"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("C1: \x9b31m, back\b\b, del\x7f", r"C1: \x9b31m, back\x08\x08, del\x7f"),
        ("gnp.\u202etxt \u2066x\u2069", r"gnp.\u202etxt \u2066x\u2069"),
        ("B\udce4uche", r"B\xe4uche"),
        ("\r50 %", "\r50 %"),
        ("\r   \r", "\r   \r"),
        ("\r", "\r"),
        ("all is well\rERROR", r"all is well\x0dERROR"),
        ("", ""),
    ],
)
def test_what_would_control_a_terminal_is_shown_as_text(text: str, shown: str) -> None:
    out, raw = outlet()
    assert out.write(text) == len(text)
    assert raw.getvalue().decode() == shown


def test_characters_that_the_terminal_lacks_are_escaped() -> None:
    out, raw = outlet("ascii")
    out.write("±5 µm → ü\n")
    assert (out.encoding, raw.getvalue()) == ("ascii", rb"\xb15 \xb5m \u2192 \xfc" + b"\n")


def test_a_stream_that_fails_is_not_written_to_again() -> None:
    with Path("/dev/full").open("w") as full:
        out = Outlet(full)
        out.write("x" * 100_000)
        assert isinstance(out.lost, OSError)
        assert out.lost.errno == 28
        assert Path(f"/proc/self/fd/{full.fileno()}").readlink() == Path("/dev/null")
        out.write("more")
        out.flush()


@pytest.mark.parametrize("closed", [True, False])
def test_a_closed_stream_takes_anything(closed: bool) -> None:
    stream = io.StringIO() if closed else None
    if stream is not None:
        stream.close()
    out = Outlet(stream)
    out.write("text")
    out.flush()
    assert (out.isatty(), out.lost, out.encoding) == (False, None, "utf-8")
    with pytest.raises(OSError, match="fileno"):
        out.fileno()


def test_the_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    with suppress(KeyError), safe_streams():
        assert isinstance(sys.stdout, Outlet)
        raise KeyError
    assert (sys.stdout, sys.stderr) == before


WITHOUT = {
    "full output": ">/dev/full",
    "full errors": "2>/dev/full",
    "closed output": ">&-",
    "everything closed": "<&- >&- 2>&-",
    "no reader": "2>&1 | true",
}


@pytest.mark.parametrize("how", WITHOUT)
def test_the_work_is_done_without_a_terminal(how: str, tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    command = f"{sys.executable} -m ctcycle.run scan 'sources=[{{path: {tmp_path / 'in'}}}]' out={tmp_path / 'out'}"
    line = ["bash", "-c", f"set -o pipefail; {command} {WITHOUT[how]}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"manifest.csv", "finished", "log.txt"}
    first = (tmp_path / "out" / "finished").read_text().splitlines()[0]
    assert first in (tmp_path / "out" / "log.txt").read_text()
    assert (tmp_path / "out" / "manifest.csv").read_text().startswith("series,patient,")  # and no message in it


def test_a_terminal_that_is_not_utf_8(tmp_path: Path) -> None:
    missing = tmp_path / "nöwhere→"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    line = [sys.executable, "-m", "ctcycle.run", "scan", f"sources=[{{path: {missing}}}]", f"out={tmp_path / 'out'}"]
    done = subprocess.run(line, capture_output=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 3
    assert rb"n\xf6where\u2192: does not exist" in done.stderr.splitlines()[-1]
    assert "nöwhere→: does not exist" in (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
