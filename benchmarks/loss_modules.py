"""Losses as modules: against `pretrain`'s own call, and against the modules of lightly; same tensors, one thread.

    python benchmarks/loss_modules.py            # all: two minutes of CPU time, 4 GB of memory
    python benchmarks/loss_modules.py vicreg     # only lines whose name starts so

A line gives, for forward and backward together, the median CPU time of the other (`pretrain`'s call of the method's
function on a context that is there, or lightly's module), that of the module here, the first over the second with its
goal, and how far the values of the two losses lie apart. They alternate, 7 times at least, more where they are short.

lightly is no dependency: `pip install lightly==1.6.0`, else its lines are left out. It has no INTL; the formula of
INTL's repository, from `benchmarks/losses.py`, stands in its place.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from losses import context, plain_intl
from torch import Tensor

from decorssl.losses import BarlowTwinsLoss, INTLLoss, Loss, VICRegLoss
from decorssl.methods import Outputs

REPEATS, SECONDS = 7, 5.0
"""Each is timed so often, and until so much time is spent on a line."""
NO_SLOWER = 1 / 1.03
"""Of a module, where the other is the call it makes."""
Call = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Line:
    """One comparison, on two views of `n` samples and `d` channels."""

    name: str
    other: Call
    ours: Loss
    n: int
    d: int
    goal: float


def pretrains(criterion: Loss) -> Call:
    """The call of the loop: the method's function, with a context that is not built for it."""
    there = context(criterion.config)
    return lambda a, b: criterion.method.loss(Outputs((a, b)), there)["loss"]


def seconds(call: Call, views: list[Tensor]) -> tuple[float, float]:
    """(CPU seconds, loss)."""
    inputs = [z.clone().requires_grad_() for z in views]
    start = time.process_time()
    value = call(*inputs)
    torch.autograd.grad(value, inputs)
    return time.process_time() - start, value.item()


def compare(line: Line) -> str:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(line.n, line.d, generator=generator)
    views = [image + 0.5 * torch.randn(line.n, line.d, generator=generator) for _ in range(2)]
    calls: tuple[Call, Call] = (line.other, line.ours)
    apart = [seconds(call, views)[1] for call in calls]
    pairs: list[tuple[float, ...]] = []
    while len(pairs) < REPEATS or (sum(map(sum, pairs)) < SECONDS and len(pairs) < 1000):
        order = calls if len(pairs) % 2 else calls[::-1]
        timed = [seconds(call, views)[0] for call in order]
        pairs.append(tuple(timed if len(pairs) % 2 else timed[::-1]))
    other, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    goal = f"{line.goal:.2f}x {'met' if other / ours >= line.goal else 'MISSED'}"
    times = f"{1e3 * other:10.2f} {1e3 * ours:10.2f} {other / ours:8.2f}x  {goal:14} {len(pairs):5}"
    return f"{line.name:32} {line.n:4} x {line.d:<5} {times}   {abs(apart[0] - apart[1]) / abs(apart[0]):.0e}"


def lines() -> Iterator[Line]:
    """A module against the call that it makes, then against others'."""
    modules = {"INTL": INTLLoss(), "VICReg": VICRegLoss(), "Barlow Twins": BarlowTwinsLoss(off_diagonal_weight=0.005)}
    for name, module in modules.items():
        for d in (2048, 8192):
            yield Line(f"{name}, pretrain's call", pretrains(module), module, 256, d, NO_SLOWER)
    formula = plain_intl(modules["INTL"].config)
    for d in (2048, 8192):
        yield Line("INTL, authors' formula", lambda a, b: formula([a, b]), modules["INTL"], 256, d, 1.0)
    try:
        from lightly.loss import BarlowTwinsLoss as LightlysBarlowTwins
        from lightly.loss import VICRegLoss as LightlysVICReg
    except ModuleNotFoundError as error:
        print(f"lightly's lines are left out: {error}")
        return
    for d in (2048, 8192):
        goal = 3.0 if d == 8192 else 1.0
        yield Line("VICReg, lightly's", LightlysVICReg(), modules["VICReg"], 256, d, goal)
        yield Line("Barlow Twins, lightly's", LightlysBarlowTwins(), modules["Barlow Twins"], 256, d, goal)


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    torch.zeros(31 * 2**18)  # 31 MB: the C library then keeps what is freed, as it does once a network has run
    print(f"torch {torch.__version__}, one thread, float32, forward and backward\n")
    print(f"{'loss':32} {'n x d':12} {'other ms':>10} {'ours ms':>10} {'ratio':>9}  {'goal':14} {'n':>5}   apart")
    for line in lines():
        if line.name.lower().startswith(tuple(wanted or [""])):
            print(compare(line), flush=True)


if __name__ == "__main__":
    main([name.lower() for name in sys.argv[1:]])
