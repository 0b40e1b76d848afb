"""How much memory was used at most."""

import resource
import sys

import torch


def peak_memory_mb(device: torch.device) -> float:
    """The GPU's peak during the job, MiB; on the CPU the peak of the process so far, which is all the system tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
