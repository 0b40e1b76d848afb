"""MoCo v2: InfoNCE of a query with the momentum network's key of its other view, against a queue of past keys.

L = - mean over queries q of log exp(<q, k>/tau) / (exp(<q, k>/tau) + sum over past keys k' of exp(<q, k'>/tau)), rows
of length 1.

He et al., arXiv 1911.05722, and Chen et al., arXiv 2003.04297. Shuffled batch normalization has no counterpart here:
statistics are those of the global batch, so that no process can tell its own keys. Source:
docs/methods.md#moco-v2 (ran lightly).
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from decorssl.memory import Queue
from decorssl.methods import Context, Outputs, Routes, any_batch, two_views
from transferbench.optim import cosine
from transferbench.settings import Settings


class Config(Settings):
    """MoCo v2's settings."""

    temperature: float = Field(0.2, gt=0, description="softmax temperature")
    queue: int = Field(65536, ge=1, description="length of the queue of past keys")
    momentum: float = Field(0.999, ge=0, le=1, description="momentum of the teacher")
    final_momentum: float | None = Field(
        None, ge=0, le=1, description="final momentum, reached along half a cosine; none: constant"
    )
    symmetric: bool = Field(False, description="both views are queries, each with its own queue (MoCo v2+)")


check = any_batch


def routes(config: Config, views: int) -> Routes:
    """The first of two views is the query, the second the key; both are both when symmetric."""
    both = two_views(config, views)
    return Routes(both.student, both.student) if config.symmetric else Routes((0,), (1,))


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """One queue for each view that has keys."""
    return nn.ModuleDict({f"queue{i}": Queue(config.queue, dim) for i in range(1 + config.symmetric)})


def momentum(context: Context) -> float:
    """Constant, or m1 - (m1 - m0) (cos(pi progress) + 1) / 2 by step."""
    config: Config = context.config
    end = config.momentum if config.final_momentum is None else config.final_momentum
    return end - (end - config.momentum) * cosine(context.step, context.total_steps)


def info_nce(
    queries: Float[Tensor, "n d"], keys: Float[Tensor, "n d"], past: Float[Tensor, "m d"], temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of a query to pick its key before all past ones; rows of length 1."""
    logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ past.T], dim=1) / temperature
    return cross_entropy(logits, torch.zeros(len(queries), dtype=torch.int64, device=queries.device))


def queues(context: Context) -> list[Queue]:
    """In the order of the views that have keys."""
    return [module for module in context.modules.values() if isinstance(module, Queue)]


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """InfoNCE over the global batch; the mean of both directions when symmetric."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        queries = [normalize(context.gather(z), dim=1) for z in outputs.student]
        keys = [normalize(context.gather(z), dim=1) for z in outputs.teacher]
        past = [queue.rows for queue in queues(context)]
        terms = [info_nce(*rows, config.temperature) for rows in zip(queries, keys[::-1], past[::-1], strict=True)]
        return {"loss": torch.stack(terms).mean()}


def after_step(outputs: Outputs, context: Context) -> None:
    """The step's keys of all processes join their queues."""
    for z, queue in zip(outputs.teacher, queues(context), strict=True):
        queue.push(normalize(context.gather(z), dim=1))
