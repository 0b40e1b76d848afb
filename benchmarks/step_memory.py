"""Peak memory and time of the losses as batch, embedding and directions grow, and of a network's batch in parts.

    python benchmarks/step_memory.py               # some minutes on one core; up to 5 GB of memory
    python benchmarks/step_memory.py directions    # only LeJEPA and VISReg by the number of random directions

Forward and backward of two views, one thread. A cell is megabytes / milliseconds: the most memory that loss and
gradients take beyond that of the embeddings (of the network: beyond that of the views), and the median CPU time. Every
cell is a process of its own. A dash: the method refuses the numbers.
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from plain_losses import Loss, lejepa_loss, visreg_loss

from decorssl import recipe as recipes
from decorssl.encoder import Encoder
from decorssl.methods import METHODS, Context, Outputs
from decorssl.passes import GradCache, Passes, Whole
from transferbench.errors import UserError
from transferbench.runtime import Runtime

BATCHES, DIMS, REPEATS = (64, 256, 1024), (512, 2048, 8192), 3
CASES = {
    "INTL": ("intl", {}),
    "CW-RGP, sub-batches of 64": ("cwrgp", {"w_size": 64, "groups": 2}),
    "Shuffled-DBN": ("dbn", {"shuffled": True}),
}

DIRECTIONS = (256, 1024, 4096)
SKETCHES: dict[str, tuple[str, Callable[[Any], Loss]]] = {
    "LeJEPA": ("lejepa", lejepa_loss),
    "VISReg": ("visreg", visreg_loss),
}
NETWORK_BATCH, PARTS = 128, (None, 64, 32, 16)


def resident() -> float:
    """Megabytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def repeated(step: Callable[[], object], answer: Any) -> None:
    before, times = resident(), []
    for _ in range(REPEATS):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    answer.put((max(0.0, peak - before), statistics.median(times) * 1e3))


def context(config: Any) -> Context:
    return Context(config, 0, 1, 0, 1, torch.Generator().manual_seed(0), lambda z: z, torch.nn.ModuleDict())


def loss(method: Any, config: Any, batch: int, dim: int, answer: Any) -> None:
    formula(lambda views: method.loss(Outputs(tuple(views)), context(config))["loss"], batch, dim, answer)


def formula(way: Loss, batch: int, dim: int, answer: Any) -> None:
    torch.set_num_threads(1)
    views = [torch.randn(batch, dim).requires_grad_() for _ in range(2)]
    repeated(lambda: way(views).backward(), answer)


def network(part: int | None, answer: Any) -> None:
    torch.set_num_threads(1)
    recipe, intl = recipes.read("intl-cifar10"), METHODS.load("intl")
    encoder = Encoder(recipe).train().to(memory_format=torch.channels_last)
    views = [torch.randn(NETWORK_BATCH, 3, 32, 32).to(memory_format=torch.channels_last) for _ in range(2)]

    def precision() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=False)

    here = Runtime(torch.device("cpu"))
    whole: Passes = Whole(encoder, here, precision, lambda network: network)
    passes = whole if part is None else GradCache(encoder, part, precision, lambda network: network)

    def step() -> None:
        encoder.zero_grad(set_to_none=True)
        passes.backward(intl.loss(Outputs(tuple(passes.forward(views))), context(recipe.config))["loss"])

    repeated(step, answer)


def cell(name: str, settings: dict[str, Any], batch: int, dim: int) -> str:
    method = METHODS.load(name)
    config = method.Config.model_validate(settings)
    try:
        method.check(config, batch, dim)
    except UserError:
        return "-"
    return apart(loss, method, config, batch, dim)


def apart(target: Callable[..., None], *arguments: Any) -> str:
    fork = multiprocessing.get_context("fork")
    answer = fork.Queue()
    process = fork.Process(target=target, args=(*arguments, answer))
    process.start()
    megabytes, milliseconds = answer.get()
    process.join()
    return f"{megabytes:.0f} MB / {milliseconds:.0f} ms"


def by_directions(batch: int = 256, dim: int = 2048) -> None:
    print(f"\n{f'batch {batch}, d = {dim}':28}" + "".join(f"{f'{k} directions':>20}" for k in DIRECTIONS))
    for title, (name, plain) in SKETCHES.items():
        method = METHODS.load(name)
        configs = [method.Config(directions=k) for k in DIRECTIONS]
        ours = [apart(loss, method, config, batch, dim) for config in configs]
        theirs = [apart(formula, plain(config), batch, dim) for config in configs]
        print(f"{title:28}" + "".join(f"{text:>20}" for text in ours), flush=True)
        print(f"{f'{title}, plain formula':28}" + "".join(f"{text:>20}" for text in theirs), flush=True)


def main(wanted: list[str]) -> None:
    by_directions()
    if wanted == ["directions"]:
        return
    print(f"\nINTL and a ResNet-18 for CIFAR-10, float32, batch {NETWORK_BATCH}")
    for part in PARTS:
        print(f"{'whole' if part is None else f'in parts of {part}':28}{apart(network, part):>20}", flush=True)
    for title, (name, settings) in CASES.items():
        print(f"\n{title:28}" + "".join(f"{f'd = {dim}':>20}" for dim in DIMS))
        for batch in BATCHES:
            cells = [cell(name, settings, batch, dim) for dim in DIMS]
            print(f"{f'batch {batch}':28}" + "".join(f"{text:>20}" for text in cells), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
