"""Training survives SIGKILL at any moment and resumes when run again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kills import POINTS


@pytest.mark.slow
def test_a_training_that_is_killed_again_and_again_ends_as_if_it_had_not_been(mlflow_store: Path) -> None:
    line = [sys.executable, str(Path(__file__).with_name("kills.py")), "--kills", "3", "--store", str(mlflow_store)]
    support = str(Path(__file__).parents[1] / "support")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": support}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    *kills, last = done.stdout.splitlines()
    assert [line.split()[0] for line in kills] == ["1", "2", "3"]
    assert last.startswith("3 kills in ")
    assert last.endswith(": all results are bit-identical to the uninterrupted run")


def test_every_point_to_kill_at_exists() -> None:
    assert not [point for point in POINTS if not callable(getattr(*point, None))]
