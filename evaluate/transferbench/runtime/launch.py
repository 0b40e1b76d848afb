"""Which of several processes this is, as torchrun or SLURM's srun says by environment variables."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")


@dataclass(frozen=True)
class Launch:
    """This process's place; `meet` is where the processes find each other, None where torch knows it."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    meet: str | None = None


def launch(variables: Mapping[str, str] = os.environ) -> Launch:
    """What torchrun set, or else srun; one process where neither did.

    The script that sbatch runs has a rank and a number of tasks too, but stands alone: only srun sets SLURM_STEP_ID.
    Under srun the processes meet on the first host of the step, at a port made from job and step, unless MASTER_ADDR
    and MASTER_PORT say otherwise.
    """
    if all(name in variables for name in TORCHRUN):
        rank, world_size, local_rank = (int(variables[name]) for name in TORCHRUN[:3])
        return Launch(rank, world_size, local_rank)
    by_srun = "SLURM_STEP_ID" in variables or "MASTER_ADDR" in variables
    if not (by_srun and all(name in variables for name in SLURM)):
        return Launch()
    rank, world_size, local_rank = (int(variables[name]) for name in SLURM)
    nodes = variables.get("SLURM_STEP_NODELIST") or variables.get("SLURM_JOB_NODELIST", "localhost")
    host = variables.get("MASTER_ADDR") or first_host(nodes)
    job, step = (int(variables.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    port = variables.get("MASTER_PORT") or 20_000 + (7 * job + step) % 20_000
    return Launch(rank, world_size, local_rank, f"tcp://{host}:{port}")


def first_host(nodes: str) -> str:
    """The first of SLURM's list of hosts: `gpu03` of `gpu[03-05,09],cpu1`."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).partition(",")[0]
