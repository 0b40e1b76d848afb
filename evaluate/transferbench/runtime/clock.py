"""How long something takes on a device."""

import time
from collections.abc import Callable

import torch


def fastest(work: Callable[[], object], device: torch.device, runs: int, enough: float = float("inf")) -> float:
    """Seconds of the fastest of so many runs; of the first alone where it takes more than `enough`."""
    seconds: list[float] = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
        if seconds[0] > enough:
            break
    return min(seconds)
