"""How much memory there is, and how much a piece of work took."""

import os
import resource
import sys

import torch


def installed() -> int:
    """Bytes of main memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_mb(device: torch.device) -> float:
    """The GPU's peak since it was last reset, MiB; on the CPU the process's so far, which is all the system tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
