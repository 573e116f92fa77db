"""A process that holds the lock of a run folder."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

HOLD = """
import sys, time
from pathlib import Path
from ctcycle.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lock until its standard input is closed."""
    line = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process
