"""What every test shares."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples every time, without a clock: a shared machine must not decide whether a test passes.
settings.register_profile("ctcycle", derandomize=True, deadline=None, database=None)
settings.load_profile("ctcycle")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT, or the test is skipped."""
    folder = Path(os.environ.get("CTCYCLE_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no folder of real CT; CTCYCLE_REAL_DATA names one")
    return folder
