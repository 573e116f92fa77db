"""How this process was started: alone, or as one of several by torchrun or srun."""

import os
from dataclasses import dataclass

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_TASKS_PER_NODE")
"""Variables of srun for the same; a batch script, which is one process, has no SLURM_STEP_NUM_TASKS."""


@dataclass(frozen=True)
class Launch:
    """How this process was started.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes.
        local_rank: number of this process on its machine.
        local_world: number of processes on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def several(self) -> bool:
        """Whether there is more than one process."""
        return self.world > 1


def launch() -> Launch:
    """Return how this process was started, from the environment variables of torchrun or srun."""
    for names in (_TORCHRUN, _SRUN):
        values = [os.environ.get(name, "").partition("(")[0].partition(",")[0] for name in names]
        if all(value.isdecimal() for value in values[:3]):
            rank, world, local_rank = (int(value) for value in values[:3])
            return Launch(rank, world, local_rank, int(values[3]) if values[3].isdecimal() else local_rank + 1)
    return Launch()
