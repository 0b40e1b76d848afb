"""What a number depends on beside its settings: versions, commit, machine, command."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from transferbench.errors import printable

REPORTED = (
    "transferbench",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pillow",
    "scikit-learn",
    "faiss-cpu",
    "faiss-gpu",
    "pycocotools",
    "hotcoco",
    "detectron2",
)
"""The distributions whose versions a number may depend on."""


def version(package: str) -> str | None:
    """The installed version of a distribution, None when it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """What a number depends on beside its settings: versions, commit, machine, command."""
    return {
        "python": platform.python_version(),
        "packages": {name: installed for name in REPORTED if (installed := version(name))},
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "machine": {
            "system": platform.platform(),
            "cpu": _cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "command": [printable(word) for word in (Path(sys.argv[0]).name, *sys.argv[1:])],
    }


def _git(*arguments: str) -> str | None:
    """What git says of the folder this package lies in; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
