"""Runs in several processes, as the drills start, watch and kill them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import forked

QUIET = ["--workers", "0", "--knn-every", "0", "--watch-every", "0", "--save-seconds", "0", "--resume"]


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    return ["-m", "decorssl", "intl", "--recipe", str(recipe), "--out", str(out), *QUIET, *more]


def torchrun(options: Sequence[str], arguments: Sequence[str]) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "torch.distributed.run", *options, *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "MASTER_"))}
    return subprocess.Popen(
        line, env={**clean, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    """What a run that ended well has told."""
    told = process.communicate(timeout=240)[0]
    assert process.returncode == 0, told
    return told


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def logged(folder: Path) -> list[str]:
    """The lines of the run's log so far; the last may be unfinished."""
    path = folder / "steps.jsonl"
    return path.read_text().splitlines() if path.is_file() else []


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(folder)]


def wait_for_steps(folder: Path, count: int, run: subprocess.Popen[str] | forked.Fork) -> None:
    deadline = time.monotonic() + 120
    while len(logged(folder)) < count:
        assert run.poll() is None, run.text(run.errors) if isinstance(run, forked.Fork) else run.communicate()[0]
        assert time.monotonic() < deadline, "the run did not get going"
        time.sleep(0.002)
