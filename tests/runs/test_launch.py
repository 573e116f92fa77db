"""How a process was started, by the variables that launchers set."""

import pytest

from ctcycle.runs.launch import Launch, launch

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SRUN = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "6", "SLURM_LOCALID": "2", "SLURM_TASKS_PER_NODE": "3(x2)"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Launch()),
        (TORCHRUN, Launch(3, 4, 1, 2)),
        (SRUN, Launch(5, 6, 2, 3)),
        (SRUN | {"SLURM_TASKS_PER_NODE": "4,2"}, Launch(5, 6, 2, 4)),
        (SRUN | TORCHRUN, Launch(3, 4, 1, 2)),
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, Launch()),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Launch()),
    ],
)
def test_how_a_process_was_started(
    variables: dict[str, str], expected: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch script with eight tasks is itself one process."""
    for name in TORCHRUN | SRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch() == expected
