"""A headless browser for tests of pages; tests are skipped where there is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=600000"),
)


def dump_dom(page: Path, profile: Path, fragment: str = "") -> str:
    """Return a page as text after its scripts have run; ``fragment`` is added to its address."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no headless browser (chromium)")
    line = [program, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", f"{page.as_uri()}{fragment}"]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=300).stdout
