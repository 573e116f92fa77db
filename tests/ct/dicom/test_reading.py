"""Tests of the decoders of DICOM pixels."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_folder_named_dl_does_not_stop_the_decoders(tmp_path: Path) -> None:
    (tmp_path / "dl").mkdir()
    code = "import ctcycle.ct.dicom, gdcm; print(gdcm.Version.GetVersion())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    found = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.stdout.startswith("3."), found.stderr
