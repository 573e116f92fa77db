"""What independent programs say of a DICOM file.

Where a validator is absent its tests are skipped; where CTCYCLE_REQUIRE_VALIDATORS is 1, they fail instead.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

REQUIRED = os.environ.get("CTCYCLE_REQUIRE_VALIDATORS") == "1"
PACKAGES = {"dciodvfy": "dicom3tools", "dcentvfy": "dicom3tools", "dcmdump": "dcmtk", "dcm2json": "dcmtk"}


def run(program: str, *arguments: str | Path) -> tuple[int, list[str]]:
    """Exit code and the lines that a program says, or the test is skipped."""
    if shutil.which(program) is None:
        say = f"{program} (Debian package {PACKAGES[program]}) is not installed"
        pytest.fail(say) if REQUIRED else pytest.skip(say)
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False)
    return result.returncode, (result.stderr + result.stdout).decode("utf-8", "replace").splitlines()


def complaints(file: Path) -> Counter[str]:
    """What dciodvfy says of a file, without the values, which may be those of the source."""
    _code, lines = run("dciodvfy", "-new", file)
    return Counter(re.sub(r"= <.*>|\[\d+\]", "", line) for line in lines if line.startswith(("Error", "Warning")))
