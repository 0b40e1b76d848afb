"""Losses against the plain formulas that the methods' repositories use: same tensors, same run, one thread.

    python benchmarks/losses.py            # about two minutes on one core

Each line gives the median over 7 interleaved repeats of the CPU time of forward and backward, plain over ours, and the
relative error of our float32 gradient against the plain formula in float64.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from decorssl.methods import Context, Outputs, barlow_twins, cwrgp, intl, vicreg

REPEATS = 7
Loss = Callable[[Tensor, Tensor], Tensor]


def context(config: object) -> Context:
    return Context(config, 0, 1, 0, 1, torch.Generator().manual_seed(0), lambda z: z, torch.nn.ModuleDict())


def ours(method: object, config: object) -> Loss:
    return lambda a, b: method.loss(Outputs((a, b)), context(config))["loss"]


def plain_intl(between: str) -> Loss:
    """Spec 1.1: whiten each view by four Newton steps on its own covariance, centre again, compare."""

    def whiten(z: Tensor) -> Tensor:
        x = z - z.mean(1, keepdim=True) if between == "samples" else (z - z.mean(0)).T
        sigma = x @ x.T / (x.shape[1] - 1)
        trace = sigma.diagonal().sum()
        p = torch.eye(len(x), dtype=z.dtype)
        for _ in range(4):
            p = 1.5 * p - 0.5 * torch.matrix_power(p, 3) @ (sigma / trace)
        out = p @ x / trace.sqrt()
        return out if between == "samples" else out.T

    def loss(a: Tensor, b: Tensor) -> Tensor:
        views, axis = [whiten(a), whiten(b)], 1 if between == "samples" else 0
        traces = [(z.var(axis) - 1).square().sum() for z in views]
        weight = intl.trade_off(intl.Config(covariance_between=between), *a.shape)
        cosine = (F.normalize(views[0], dim=1) * F.normalize(views[1], dim=1)).sum(1).mean()
        return 2 - 2 * cosine + weight * (traces[0] + traces[1])

    return loss


def plain_barlow(a: Tensor, b: Tensor) -> Tensor:
    x, y = barlow_twins.standardised(a, 1e-5), barlow_twins.standardised(b, 1e-5)
    c = x.T @ y / len(a)
    off = c.square().sum() - c.diagonal().square().sum()
    return (c.diagonal() - 1).square().sum() + 0.0051 * off


def plain_vicreg(a: Tensor, b: Tensor) -> Tensor:
    def covariance(z: Tensor) -> Tensor:
        x = z - z.mean(0)
        c = x.T @ x / (len(z) - 1)
        return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]

    spread = sum(torch.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() for z in (a, b)) / 2
    return 25 * (a - b).square().mean() + 25 * spread + covariance(a) + covariance(b)


def plain_cwrgp(a: Tensor, b: Tensor) -> Tensor:
    """Spec 1.3: one sub-batch, view and group at a time, by singular value decomposition; the draws of `ours`."""
    draw = cwrgp.permutations(torch.Generator().manual_seed(0))
    config = cwrgp.Config()
    parts = draw(len(a)).view(-1, config.w_size)
    whitened: list[list[Tensor]] = [[], []]
    for part in parts:
        for v, z in enumerate((a, b)):
            order = draw(z.shape[1])
            x = (z[part] - z[part].mean(1, keepdim=True))[:, order]
            out = []
            for group in x.chunk(config.groups, 1):
                u, s, _ = torch.linalg.svd(group @ group.T / (group.shape[1] - 1))
                out.append(u @ torch.diag(s.rsqrt()) @ u.T @ group)
            whitened[v].append(torch.cat(out, 1)[:, order.argsort()])
    x, y = (torch.cat(w) for w in whitened)
    return 2 - 2 * (F.normalize(x, dim=1) * F.normalize(y, dim=1)).sum(1).mean()


def seconds(loss: Loss, a: Tensor, b: Tensor) -> float:
    a, b = (z.detach().clone().requires_grad_() for z in (a, b))
    start = time.process_time()
    loss(a, b).backward()
    return time.process_time() - start


def gradient(loss: Loss, a: Tensor, b: Tensor) -> Tensor:
    a, b = (z.detach().clone().requires_grad_() for z in (a, b))
    return torch.cat(torch.autograd.grad(loss(a, b), (a, b))).double()


def compare(name: str, plain: Loss, fast: Loss, n: int, d: int, exact: bool = True) -> None:
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(n, d, generator=generator)
    b = a + 0.5 * torch.randn(n, d, generator=generator)
    seconds(fast, a, b)
    pairs = [(seconds(plain, a, b), seconds(fast, a, b)) for _ in range(REPEATS)]
    slow, quick = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(p / f for p, f in pairs)
    error = ""
    if exact:
        reference = gradient(plain, a.double(), b.double())
        error = f"gradient error {float((gradient(fast, a, b) - reference).norm() / reference.norm()):.1e}"
    print(f"{name:22} {n:5} x {d:<5} plain {1e3 * slow:9.1f} ms   ours {1e3 * quick:7.1f} ms   {ratio:6.2f}x   {error}")


def main() -> None:
    torch.set_num_threads(1)
    samples, channels = intl.Config(), intl.Config(covariance_between="channels")
    compare("INTL, samples", plain_intl("samples"), ours(intl, samples), 256, 2048)
    compare("INTL, samples", plain_intl("samples"), ours(intl, samples), 256, 8192)
    compare("INTL, channels", plain_intl("channels"), ours(intl, channels), 256, 1024)
    compare("Barlow Twins", plain_barlow, ours(barlow_twins, barlow_twins.Config()), 256, 2048)
    compare("VICReg", plain_vicreg, ours(vicreg, vicreg.Config()), 256, 2048)
    compare("Barlow Twins", plain_barlow, ours(barlow_twins, barlow_twins.Config()), 256, 128)
    compare("VICReg", plain_vicreg, ours(vicreg, vicreg.Config()), 256, 128)
    compare("CW-RGP", plain_cwrgp, ours(cwrgp, cwrgp.Config()), 256, 512)


if __name__ == "__main__":
    main()
