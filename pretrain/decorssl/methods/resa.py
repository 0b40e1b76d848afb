"""ReSA: embeddings take over the clusters that the backbone's features form by themselves.

L = - mean over the teacher's views b and the student's a != b of 1/n sum_ij A_ij log softmax_j(<q(z_ai), t_bj> / tau),
with q the predictor, rows of length 1, and A the Sinkhorn-Knopp assignment of the images to each other:
exp(H T^T / eps) of the features H and T that student and teacher make of the first view, without gradient.

Weng et al., *Clustering Properties of Self-Supervised Learning*, arXiv 2501.18452. Source: docs/methods.md#resa (ran
the authors' code).
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from decorssl.fused.units import unit_vectors
from decorssl.heads import predictor
from decorssl.methods import Context, Outputs, Routes, any_batch, every_view
from decorssl.methods.intl_m import momentum as momentum
from decorssl.methods.swav import sinkhorn
from transferbench.settings import Settings


class Config(Settings):
    """ReSA's settings, the ones for ImageNet."""

    temperature: float = Field(0.4, gt=0, description="softmax temperature")
    sinkhorn_eps: float = Field(
        0.05, gt=0.012, description="entropy regularization of Sinkhorn-Knopp; exp(1/eps) must be finite in float32"
    )
    sinkhorn_iterations: int = Field(3, ge=1, description="Sinkhorn-Knopp iterations")
    predictor_hidden: int | None = Field(
        2048, ge=1, description="hidden channels of the predictor; none: no predictor (CIFAR)"
    )
    momentum: float = Field(0.996, ge=0, le=1, description="of the teacher at the start, rising to 1")


check = any_batch
NEEDS_FEATURES = True


def routes(config: Config, views: int) -> Routes:
    """The student sees all views, the teacher the first two; the first, weakly augmented, is the one assigned."""
    return Routes(every_view(config, views).student, (0, 1))


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """The predictor, if there is one."""
    hidden = config.predictor_hidden
    return nn.ModuleDict({} if hidden is None else {"predictor": predictor(dim, hidden)})


def assignment(student: Float[Tensor, "n w"], teacher: Float[Tensor, "n w"], config: Config) -> Float[Tensor, "n n"]:
    """How much each image's features by the student belong to each image's by the teacher; rows sum to 1.

    Cosines keep exp(x / eps) within float32.
    """
    cosines = normalize(student, dim=1) @ normalize(teacher, dim=1).T
    return sinkhorn(cosines, config.sinkhorn_eps, config.sinkhorn_iterations)


def cross_entropy(targets: Float[Tensor, "n m"], logits: Float[Tensor, "n m"]) -> Float[Tensor, ""]:
    """Of the logits' softmax with targets whose rows sum to 1, averaged over rows."""
    return -(targets * log_softmax(logits, dim=1)).sum(1).mean()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Cross-entropy with the assignment over all pairs of different views and the global batch."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        own, followed = (context.gather(part[0]) for part in (outputs.student_features, outputs.teacher_features))
        targets = assignment(own, followed, config)
        predict = context.modules["predictor"] if "predictor" in context.modules else nn.Identity()
        seen = [unit_vectors(context.gather(predict(z))) for z in outputs.student]
        taught = [normalize(context.gather(z), dim=1) for z in outputs.teacher]
        pairs = [(z, t) for i, z in enumerate(seen) for j, t in enumerate(taught) if i != j]
        return {"loss": torch.stack([cross_entropy(targets, z @ t.T / config.temperature) for z, t in pairs]).mean()}
