"""Peak memory and time of the losses as batch and embedding grow: forward and backward of two views, one thread.

    python benchmarks/step_memory.py        # a minute or two on one core; up to 2 GB of memory

A cell is megabytes / milliseconds: the most memory that loss and gradients take beyond that of the embeddings, and the
median CPU time. Every cell is a process of its own. A dash: the method refuses the numbers.
"""

import multiprocessing
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from decorssl.methods import METHODS, Context, Outputs
from transferbench.errors import UserError

BATCHES, DIMS, REPEATS = (64, 256, 1024), (512, 2048, 8192), 3
CASES = {
    "INTL": ("intl", {}),
    "CW-RGP, sub-batches of 64": ("cwrgp", {"w_size": 64, "groups": 2}),
    "Shuffled-DBN": ("dbn", {"shuffled": True}),
}


def resident() -> float:
    """Megabytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def measure(method: Any, config: Any, batch: int, dim: int, answer: Any) -> None:
    torch.set_num_threads(1)
    context = Context(config, 0, 1, 0, 1, torch.Generator().manual_seed(0), lambda z: z, torch.nn.ModuleDict())
    views = [torch.randn(batch, dim).requires_grad_() for _ in range(2)]
    before, times = resident(), []
    for _ in range(REPEATS):
        start = time.process_time()
        method.loss(Outputs(tuple(views)), context)["loss"].backward()
        times.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    answer.put((max(0.0, peak - before), statistics.median(times) * 1e3))


def cell(name: str, settings: dict[str, Any], batch: int, dim: int) -> str:
    method = METHODS.load(name)
    config = method.Config.model_validate(settings)
    try:
        method.check(config, batch, dim)
    except UserError:
        return "-"
    fork = multiprocessing.get_context("fork")
    answer = fork.Queue()
    process = fork.Process(target=measure, args=(method, config, batch, dim, answer))
    process.start()
    megabytes, milliseconds = answer.get()
    process.join()
    return f"{megabytes:.0f} MB / {milliseconds:.0f} ms"


def main() -> None:
    for title, (name, settings) in CASES.items():
        print(f"\n{title:28}" + "".join(f"{f'd = {dim}':>20}" for dim in DIMS))
        for batch in BATCHES:
            cells = [cell(name, settings, batch, dim) for dim in DIMS]
            print(f"{f'batch {batch}':28}" + "".join(f"{text:>20}" for text in cells), flush=True)


if __name__ == "__main__":
    main()
