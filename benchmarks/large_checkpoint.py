"""A checkpoint far larger than its network: how long it takes to inspect and to load, and how much memory.

    python benchmarks/large_checkpoint.py             # a minute of one core, 2.1 GB in a temporary folder

A ResNet-50 in VICReg's layout with a projector of three layers 8192 wide and the state of Adam, as torch writes it
today and as it did before 1.6. Each number is from a fresh process, after its imports (plugins too), with the file not
in the page cache; the peak is what the process's resident memory grew by, in sizes of the file.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from transferbench.backbones import FAMILIES, Architecture, build
from transferbench.checkpoints.formats import FORMATS
from transferbench.checkpoints.inspect import inspect
from transferbench.checkpoints.load import load
from transferbench.checkpoints.naming import SCHEMES

TASKS = {
    "inspect": lambda path: inspect(path),
    "inspect --sha256": lambda path: inspect(path, hashes=True),
    "load": lambda path: load(path),
}


def write(path: Path, depth: int, hidden: int, zipped: bool) -> None:
    """A training state: network, projector, and two moments of each."""
    network = build(Architecture(family="resnet", arguments={"depth": depth}), seed=0)
    model = {f"module.backbone.{name}": tensor for name, tensor in network.state_dict().items()}
    for layer, width in zip((0, 3, 6), (network.width, hidden, hidden), strict=True):
        model[f"module.projector.{layer}.weight"] = torch.full((hidden, width), 0.01)
    moments = {i: {"exp_avg": t * 0, "exp_avg_sq": t * 1} for i, t in enumerate(model.values())}
    groups = [{"lr": 0.1, "params": list(moments)}]
    tree = {"epoch": 1000, "model": model, "optimizer": {"state": moments, "param_groups": groups}}
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)


def resident(field: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def peak(run: Callable[[], object]) -> tuple[float, int]:
    """Seconds of a call, and by how many bytes its memory exceeded that before."""
    Path("/proc/self/clear_refs").write_text("5")
    before, start = resident("VmRSS"), time.perf_counter()
    run()
    return time.perf_counter() - start, resident("VmHWM") - before


def measure(task: str, path: Path) -> None:
    """Print the seconds and the growth of memory of one task."""
    for room in (FAMILIES, FORMATS, SCHEMES):
        list(room.all())
    print(*peak(lambda: TASKS[task](path)))


def forget(path: Path) -> None:
    """Put the file out of the page cache, as one just copied here or long unused is."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measured(task: str, path: Path) -> tuple[float, int]:
    """Seconds and bytes of a task in a process of its own."""
    command = [sys.executable, __file__, task, str(path)]
    seconds, growth = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), int(growth)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("zip", "legacy"):
            path = Path(folder) / f"{kind}.pth"
            write(path, depth=50, hidden=8192, zipped=kind == "zip")
            size = path.stat().st_size
            for task in TASKS:
                forget(path)
                seconds, growth = measured(task, path)
                print(
                    f"{kind:6s} {size / 1e9:.2f} GB  {task:16s} {seconds:6.2f} s  peak {growth / size:.3f} x the file"
                )
            path.unlink()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
