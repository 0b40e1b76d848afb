"""SwAV: each view predicts the prototype assignments of the image's other views.

L = - mean over coded views a and views b != a of sum_k q_ak log p_bk, with q the Sinkhorn-Knopp codes of Z C^T and
p = softmax(Z C^T / tau), rows of Z and of the prototypes C of length 1, mean over the batch.

Caron et al., *Unsupervised Learning of Visual Features by Contrasting Cluster Assignments*, arXiv 2006.09882. Source:
docs/methods.md#swav (ran lightly).
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear, log_softmax, normalize

from decorssl.memory import Queue
from decorssl.methods import Context, Outputs, any_batch, every_view
from transferbench.settings import Settings

CODED = 2
"""The first two views are dealt to prototypes; smaller crops only predict."""


class Config(Settings):
    """SwAV's settings."""

    prototypes: int = Field(3000, ge=2, description="number of prototypes")
    frozen_epochs: int = Field(1, ge=0, description="epochs in which prototypes are frozen at their initial values")
    temperature: float = Field(0.1, gt=0, description="softmax temperature")
    sinkhorn_eps: float = Field(
        0.05, gt=0.012, description="entropy regularization of Sinkhorn-Knopp; exp(1/eps) must be finite in float32"
    )
    sinkhorn_iterations: int = Field(3, ge=0, description="Sinkhorn-Knopp iterations")
    queue: int = Field(0, ge=0, description="length of each view's queue of past embeddings (small batches: 3840)")
    queue_from_epoch: int = Field(15, ge=0, description="the queue is used from this epoch on, counted from 0")


routes = every_view
check = any_batch


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """The prototypes, unit rows without bias, and the queues."""
    prototypes = nn.Linear(dim, config.prototypes, bias=False)
    prototypes.weight.data = normalize(prototypes.weight.data, dim=1)
    queues = {f"queue{i}": Queue(config.queue, dim) for i in range(CODED if config.queue else 0)}
    return nn.ModuleDict({"prototypes": prototypes, **queues})


def sinkhorn(scores: Float[Tensor, "n k"], eps: float, iterations: int) -> Float[Tensor, "n k"]:
    """Sinkhorn-Knopp: exp(scores / eps) scaled in turn to equal column sums and to row sums of 1."""
    q = torch.exp(scores / eps)
    for _ in range(iterations):
        q = q / q.sum(0)
        q = q / q.sum(1, keepdim=True)
    return q


def prototypes(context: Context) -> Float[Tensor, "k d"]:
    """One unit row each."""
    layer = context.modules["prototypes"]
    assert isinstance(layer, nn.Linear)
    return layer.weight


def queues(context: Context) -> list[Queue]:
    """One for each coded view, or none."""
    return [module for module in context.modules.values() if isinstance(module, Queue)]


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Cross-entropy of every view with the codes of each other coded one, over the global batch."""
    config: Config = context.config
    fixed = prototypes(context).detach()
    weight = fixed if context.epoch < config.frozen_epochs else prototypes(context)
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        views = [normalize(context.gather(z), dim=1) for z in outputs.student]
        predictions = [log_softmax(linear(z, weight) / config.temperature, dim=1) for z in views]
        past = [queue.rows for queue in queues(context) if queue.full] or [views[0][:0]] * CODED
        dealt = [torch.cat([z.detach(), rows]) for z, rows in zip(views, past, strict=False)]
        codes = [sinkhorn(linear(rows, fixed), config.sinkhorn_eps, config.sinkhorn_iterations) for rows in dealt]
        pairs = [(q[: len(p)], p) for i, q in enumerate(codes) for j, p in enumerate(predictions) if i != j]
        return {"loss": -torch.stack([(q * p).sum(1).mean() for q, p in pairs]).mean()}


def after_step(outputs: Outputs, context: Context) -> None:
    """Prototypes return to length 1; from its epoch on each queue takes the step's embeddings of its view."""
    weight = prototypes(context)
    weight.copy_(normalize(weight, dim=1))
    if context.epoch >= context.config.queue_from_epoch:
        for z, queue in zip(outputs.student, queues(context), strict=False):
            queue.push(normalize(context.gather(z), dim=1))
