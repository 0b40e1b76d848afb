"""How much memory a piece of work took."""

import resource
import sys

import torch


def peak_mb(device: torch.device) -> float:
    """The GPU's peak since it was last reset, MiB; on the CPU the process's so far, which is all the system tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
