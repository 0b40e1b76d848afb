"""A command put into SLURM's queue: one task a GPU under srun, and put back there when its time is up.

submitit was considered: it requeues from inside the signal's handler, which cuts a training step in two, and pickles
functions, where a command that goes on by itself is all that is needed.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from transferbench import settings
from transferbench.errors import UserError
from transferbench.settings import Settings

SCRIPT = """#!/bin/bash
{directives}
# Written by `{title} --slurm`; it can be changed, and queued again with: sbatch {path}
cd {folder} || exit 1
{items}srun {command}
code=$?
# 138 is 128 + SIGUSR1: saved because time is nearly up, and not at its end.
if [ "$code" -eq 138 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
"""


class SlurmRequest(Settings):
    """What is asked of SLURM. Nothing here can change a result."""

    nodes: int = Field(1, ge=1, description="number of machines")
    gpus: int = Field(1, ge=0, description="on each node; as many processes. 0: one process a node, on the CPU")
    cpus: int | None = Field(None, ge=1, description="for each process")
    time: str | None = Field(None, pattern=r"^(\d+-)?\d+(:\d+){0,2}$", description="as sbatch takes it, 24:00:00")
    warn: int = Field(120, ge=1, description="seconds before the time is up at which to save and queue again")
    mem: str | None = Field(None, description="of each node")
    partition: str | None = Field(None, description="which queue")
    account: str | None = Field(None, description="who pays")
    qos: str | None = Field(None, description="quality of service")
    constraint: str | None = Field(None, description="features a node must have")

    def directives(self) -> dict[str, str | int | None]:
        """The options of sbatch that say so."""
        return {
            "nodes": self.nodes,
            "ntasks-per-node": max(1, self.gpus),
            "gpus-per-node": self.gpus or None,
            "cpus-per-task": self.cpus,
            "time": self.time,
            "signal": f"USR1@{self.warn}",
            **{name: getattr(self, name) for name in ("mem", "partition", "account", "qos", "constraint")},
        }


@dataclass(frozen=True)
class Work:
    """A module's command line; with `items` one job of an array for each, the item behind the arguments' first."""

    title: str
    module: str
    arguments: Sequence[str]
    items: Sequence[str] = ()


def read(text: str) -> SlurmRequest:
    """The request of `"nodes=2,gpus=8,time=24:00:00"`.

    Raises:
        UserError: listing everything that does not fit.
    """
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not pairs:
        raise UserError(f"--slurm takes NAME=VALUE,..., for example gpus=1; found '{text}', which states nothing.")
    if odd := [name for name, equals, value in pairs if not (equals and value)]:
        raise UserError(f"--slurm takes NAME=VALUE,..., for example nodes=2,gpus=8; found '{odd[0]}' without a value.")
    return settings.read(SlurmRequest, {name.strip(): value.strip() for name, _, value in pairs})


def arguments_left(arguments: Sequence[str], items: Sequence[str] = ()) -> list[str]:
    """A command line without `--slurm` and its value, and without the items; an option's value is the last to go."""
    left = list[str]()
    words = iter(arguments)
    for word in words:
        if word == "--slurm":
            next(words, None)
        elif not word.startswith("--slurm="):
            left.append(word)
    for item in items:
        places = [i for i, word in enumerate(left) if word == item]
        free = [i for i in places if not (i and left[i - 1].startswith("-"))]
        del left[(free or places)[0]]
    return left


def submit(work: Work, request: SlurmRequest, folder: Path) -> str:
    """Write the job's script into a folder and queue it; what to tell.

    Raises:
        UserError: where there is no sbatch, or it refuses.
    """
    if shutil.which("sbatch") is None:
        raise UserError("--slurm needs the command sbatch, which is not on this machine. Run it on a login node.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / "job.sh"
    if path.exists() and not path.is_file():
        raise UserError(f"Cannot write {path}: no regular file lies there. Remove it, or choose another folder.")
    path.write_text(script(work, request, path))
    done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"sbatch refused {path}: {done.stderr.strip() or done.stdout.strip()}")
    job = done.stdout.strip().partition(";")[0]
    several = f", an array of {len(work.items)}" if work.items else ""
    return f"Job {job}{several}: script and output are in {path.parent}. It requeues itself when its time is up."


def script(work: Work, request: SlurmRequest, path: Path) -> str:
    """The text of the script that is to lie at `path`."""
    options = {
        "job-name": work.title.replace(" ", "-"),
        **request.directives(),
        "output": path.parent / ("%A_%a.out" if work.items else "%j.out"),
        "open-mode": "append",
        "array": f"0-{len(work.items) - 1}" if work.items else None,
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    command = shlex.join([sys.executable, "-m", work.module, *work.arguments[:1]])
    item = ' "${ITEMS[$SLURM_ARRAY_TASK_ID]}"' if work.items else ""
    rest = shlex.join(work.arguments[1:])
    return SCRIPT.format(
        directives="\n".join([*lines, "#SBATCH --requeue"]),
        title=work.title,
        path=shlex.quote(str(path)),
        folder=shlex.quote(str(Path.cwd())),
        items=f"ITEMS=({shlex.join(work.items)})\n" if work.items else "",
        command=f"{command}{item} {rest}".rstrip(),
    )
