"""Losses against the plain formulas that the methods' repositories use: same tensors, same run, one thread.

    python benchmarks/losses.py                 # everything: five to six minutes on one core, 4 GB of memory
    python benchmarks/losses.py cw-rgp vicreg   # only lines whose name starts so

A line gives, for forward and backward together: the median CPU time of the plain formula and of ours (they alternate, 7
times at least, more where they are short); the first over the second, and the goal for it; the same quotient of the
floating-point operations in matrix products, which is about what a missed goal could reach (element-wise work and
factorizations are not counted); and the relative error of both float32 gradients against the plain formula in float64.

The plain formulas do what the published code does and no more: INTL whitens one view at a time with batched products
and `matrix_power(p, 3)`, and centers again for the trace loss; CW-RGP takes one sub-batch and one view at a time, with
`torch.svd` of the groups' covariances and a list inverted by `index`; Barlow Twins and VICReg form d x d matrices and
copy what is off their diagonals. Random draws are the same in both.

CW-RGP's lines have covariances of a condition of about 40, which float32 resolves. At 4e5 ours ran in float64, 1.7 to
2.1 times as fast as the plain formula, whose float32 gradient was off by 2 %.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from decorssl.fused.vicreg import moments
from decorssl.methods import Context, Outputs, barlow_twins, cwrgp, intl, vicreg

REPEATS, SECONDS = 7, 1.0
"""Every formula runs so often, and until so much time is spent on a line."""
Loss = Callable[[list[Tensor]], Tensor]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Line:
    """One comparison, on `views` correlated normal embeddings of `n` samples and `d` channels."""

    name: str
    plain: Loss
    ours: Loss
    n: int
    d: int
    views: int = 2
    goal: float = 1.0
    error: float = 1e-5


def context(config: object, device: torch.device = CPU) -> Context:
    return Context(config, 0, 1, 0, 1, torch.Generator(device).manual_seed(0), lambda z: z, torch.nn.ModuleDict())


def ours(method: object, config: object, device: torch.device = CPU) -> Loss:
    return lambda views: method.loss(Outputs(tuple(views)), context(config, device))["loss"]


def normalized_mse(a: Tensor, b: Tensor) -> Tensor:
    return 2 - 2 * (F.normalize(a) * F.normalize(b)).sum(-1).mean()


def off_diagonal(c: Tensor) -> Tensor:
    """A copy of the elements off the diagonal: drop the last element, and the diagonal stands in one column."""
    d = len(c)
    return c.flatten()[:-1].view(d - 1, d + 1)[:, 1:].flatten()


def plain_intl(config: intl.Config) -> Loss:
    """winci-ai/INTL, methods/whitening.py and intl.py."""
    samples = config.covariance_between == "samples"

    def whiten(z: Tensor) -> Tensor:
        x = (z - z.mean(1, keepdim=True) if samples else (z - z.mean(0)).T).T.unsqueeze(0)
        sigma = torch.bmm(x.mT, x) / (x.shape[1] - 1)
        trace = sigma.diagonal(dim1=-2, dim2=-1).sum(-1).view(1, 1, 1)
        scaled, p = sigma * trace.reciprocal(), torch.eye(x.shape[2], dtype=z.dtype, device=z.device).unsqueeze(0)
        for _ in range(config.iterations):
            p = torch.baddbmm(p, torch.matrix_power(p, 3), scaled, beta=1.5, alpha=-0.5)
        out = torch.bmm(x, p.mul_(trace.reciprocal().sqrt())).squeeze(0)
        return out.T if samples else out

    def trace_loss(z: Tensor) -> Tensor:
        x = z.T if samples else z
        x = x - x.mean(0)
        return (x.pow(2).sum(0) / (len(x) - 1) - 1).pow(2).sum()

    def loss(views: list[Tensor]) -> Tensor:
        first, *others = [whiten(z) for z in views]
        weight, anchor = intl.trade_off(config, *first.shape), trace_loss(first)
        terms = [normalized_mse(z, first) + weight * (trace_loss(z) + anchor) for z in others]
        return torch.stack(terms).mean()

    return loss


def plain_barlow(views: list[Tensor]) -> Tensor:
    """arXiv 2103.03230, as its repository computes it."""
    a, b = (F.batch_norm(z, None, None, training=True) for z in views)
    c = (a.T @ b).div_(len(a))
    return (c.diagonal() - 1).pow(2).sum() + 0.0051 * off_diagonal(c).pow(2).sum()


def centered(views: list[Tensor]) -> list[Tensor]:
    return [z - z.mean(0) for z in views]


def covariance_term(views: list[Tensor]) -> Tensor:
    """The third term of VICReg, arXiv 2105.04906, of centered views, as its repository computes it."""
    return sum(off_diagonal(x.T @ x / (len(x) - 1)).pow(2).sum() / x.shape[1] for x in views)


def plain_vicreg(views: list[Tensor]) -> Tensor:
    invariance, moved = F.mse_loss(*views), centered(views)
    spread = sum(F.relu(1 - (x.var(0) + 1e-4).sqrt()).mean() / 2 for x in moved)
    return 25 * invariance + 25 * spread + covariance_term(moved)


def plain_cwrgp(config: cwrgp.Config) -> Loss:
    """winci-ai/CW-RGP, base/methods/whitening.py and cwrgp.py."""

    def whiten(x: Tensor, order: list[int]) -> Tensor:
        x = (x - x.mean(1, keepdim=True))[:, order].view(len(x), config.groups, -1).permute(1, 2, 0)
        u, s, _ = torch.svd(torch.bmm(x.mT, x) / (x.shape[1] - 1))
        root = torch.bmm(torch.bmm(u, torch.diag_embed(s.rsqrt())), u.mT)
        out = torch.bmm(x, root).permute(2, 0, 1).reshape(x.shape[2], -1)
        return out[:, [order.index(i) for i in range(len(order))]]

    def loss(views: list[Tensor]) -> Tensor:
        draw, n, terms = cwrgp.permutations(torch.Generator().manual_seed(0)), len(views[0]), []
        stacked = torch.cat(views)
        for _ in range(config.w_iter):
            z = torch.empty_like(stacked)
            for part in draw(n).view(-1, config.w_size):
                for i in range(len(views)):
                    z[part + i * n] = whiten(stacked[part + i * n], draw(stacked.shape[1]).tolist())
            whitened = z.chunk(len(views))
            terms += [normalized_mse(whitened[i], z) for j, z in enumerate(whitened) for i in range(j)]
        return torch.stack(terms).mean()

    return loss


def embeddings(line: Line) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(line.n, line.d, generator=generator)
    return [image + 0.5 * torch.randn(line.n, line.d, generator=generator) for _ in range(line.views)]


def gradient(loss: Loss, views: list[Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    views = [z.to(dtype, copy=True).requires_grad_() for z in views]
    return torch.cat(torch.autograd.grad(loss(views), views))


def seconds(loss: Loss, views: list[Tensor]) -> float:
    start = time.process_time()
    gradient(loss, views)
    return time.process_time() - start


def product_flops(result: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], **_: object) -> int:
    """Of products in place, of one matrix or a batch, which the counter does not know."""
    return 2 * math.prod(a) * b[-1]


IN_PLACE = {torch.ops.aten.addmm_: product_flops, torch.ops.aten.baddbmm_: product_flops}


def products(loss: Loss, views: list[Tensor]) -> tuple[int, Tensor]:
    """Floating-point operations of the matrix products, and the gradient; a first run, which warms up."""
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
        result = gradient(loss, views)
    return counter.get_total_flops(), result


def compare(line: Line) -> str:
    views = embeddings(line)
    (many, slow), (few, fast) = products(line.plain, views), products(line.ours, views)
    exact = gradient(line.plain, views, torch.float64)
    errors = [float((g - exact).norm() / exact.norm()) for g in (slow, fast)]
    del slow, fast, exact
    pairs: list[tuple[float, float]] = []
    while len(pairs) < REPEATS or (sum(map(sum, pairs)) < SECONDS and len(pairs) < 500):
        pairs.append((seconds(line.plain, views), seconds(line.ours, views)))
    plain, quick = (statistics.median(column) for column in zip(*pairs, strict=True))
    goal = f"{line.goal:g}x {'met' if plain / quick >= line.goal else 'MISSED'}"
    gate = "" if errors[1] <= line.error else f"  MISSED {line.error:.0e}"
    times = f"{1e3 * plain:10.1f} {1e3 * quick:9.2f} {plain / quick:8.2f}x  {goal:12}"
    shape = f"{line.views} x {line.n} x {line.d}"
    return f"{line.name:22} {shape:15} {times} {many / few:7.2f}x    {errors[0]:.1e}  {errors[1]:.1e}{gate}"


def lines() -> list[Line]:
    def both(plain: Callable[[object], Loss], method: object, config: object) -> tuple[Loss, Loss]:
        return plain(config), ours(method, config)

    samples = both(plain_intl, intl, intl.Config())
    channels = both(plain_intl, intl, intl.Config(covariance_between="channels"))
    four = both(plain_cwrgp, cwrgp, cwrgp.Config())
    two = both(plain_cwrgp, cwrgp, cwrgp.Config(w_iter=4))
    barlow = (plain_barlow, ours(barlow_twins, barlow_twins.Config()))
    whole = (plain_vicreg, ours(vicreg, vicreg.Config()))
    term = (
        lambda views: covariance_term(centered(views)),
        lambda views: sum(vicreg.off_diagonal(*moments(z)) for z in views),
    )
    return [
        Line("INTL, samples", *samples, 256, 2048, goal=1.8),
        Line("INTL, samples", *samples, 256, 8192, goal=2.0),
        Line("INTL, channels", *channels, 256, 2048, goal=150),
        Line("INTL, channels", *channels, 1024, 2048, goal=7),
        Line("VICReg, covariance", *term, 256, 8192, goal=80),
        Line("Barlow Twins", *barlow, 256, 8192, goal=25),
        *(Line("VICReg", *whole, n, d) for n, d in ((256, 128), (512, 128), (1024, 256))),
        *(Line("Barlow Twins", *barlow, n, d) for n, d in ((256, 128), (512, 128), (1024, 256))),
        Line("CW-RGP 4", *four, 256, 512, views=4, goal=3, error=2e-4),
        Line("CW-RGP 2, w_iter 4", *two, 256, 512, goal=3, error=2e-4),
    ]


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    torch.zeros(31 * 2**18)  # 31 MB: the C library then keeps what is freed, as it does once a network has run
    print(f"torch {torch.__version__}, one thread, float32, forward and backward\n")
    print(
        f"{'loss':22} {'views x n x d':15} {'plain ms':>10} {'ours ms':>9} {'ratio':>9}  {'goal':12} {'products':>8}"
        "    gradient error: plain, ours"
    )
    for line in lines():
        if line.name.lower().startswith(tuple(wanted or [""])):
            print(compare(line), flush=True)


if __name__ == "__main__":
    main([name.lower() for name in sys.argv[1:]])
