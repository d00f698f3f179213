"""What an MPI launcher tells the processes that it starts. Imports nothing of ours."""

from __future__ import annotations

import os
from contextlib import suppress

VERBS = ("train", "finetune", "resume")  # that several ranks can carry out together
# what tells a process its rank, and how many there are: Open MPI, MPICH and Intel MPI, MVAPICH, Slurm's srun
VARIABLES = (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"),
             ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))


def launched() -> tuple[int, int] | None:
    """(rank, number of ranks) that a launcher gave this process; None without one, or when it is the only one."""
    for rank, size in VARIABLES:
        with suppress(KeyError, ValueError):
            found = int(os.environ[rank]), int(os.environ[size])
            return found if found[1] > 1 else None
    return None
