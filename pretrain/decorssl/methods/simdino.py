"""SimDINO: the student's views near the momentum teacher's other ones, global views with the largest coding rate.

L = - weight mean over the teacher's views a and the student's b != a of mean_i cos(t_ai, s_bi)
- (1/d + 1/n) mean_a R(X_a), with unit rows, R(X) = 1/2 log det(I + d / (n eps) X^T X) and X_a = (S_a + T_a) / 2 of the
global views.

Wu et al., *Simplifying DINO via Coding Rate Regularization*, arXiv 2502.10385. Source: docs/methods.md#simdino (ran the
authors' code). The projector ends in the bottleneck of DINO's head (256 in the paper); there are no prototypes.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.fused.coding_rate import coding_rate
from decorssl.fused.units import unit_vectors
from decorssl.methods import Context, Outputs, Routes, any_batch, every_view, no_modules
from transferbench.optim import cosine
from transferbench.settings import Settings


class Config(Settings):
    """SimDINO's settings, with the published defaults."""

    compression_weight: float = Field(1.0, ge=0, description="weight of the mean cosine of student and teacher")
    eps: float = Field(0.05, ge=1e-9, description="squared distortion up to which the rate codes embeddings")
    expansion_of: Literal["mean", "student"] = Field(
        "mean", description="whose global views have a coding rate: the mean of student and teacher, or the student's"
    )
    momentum: float = Field(0.996, ge=0, le=1, description="initial momentum; rises to 1 along half a cosine, by step")


modules = no_modules
check = any_batch


def routes(config: Config, views: int) -> Routes:
    """The student sees all views, the teacher the first two, which are the global crops."""
    return Routes(every_view(config, views).student, (0, 1))


def momentum(context: Context) -> float:
    """1 - (1 - m0) (cos(pi progress) + 1) / 2 by step."""
    config: Config = context.config
    return 1 - (1 - config.momentum) * cosine(context.step, context.total_steps)


def compression(student: Float[Tensor, "v n d"], teacher: Float[Tensor, "t n d"]) -> Float[Tensor, ""]:
    """The mean cosine of unit rows over all pairs of a teacher's view with another one of the student's."""
    views, targets = len(student), len(teacher)
    others = student.sum(0) - student[:targets]
    return (teacher * others).sum(-1).mean() / (views - 1)


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Minus the weighted compression and minus the balanced coding rate, over the global batch."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        student, teacher = (
            unit_vectors(torch.stack([context.gather(z) for z in views]))
            for views in (outputs.student, outputs.teacher)
        )
        targets, n, d = teacher.shape
        similarity = compression(student, teacher)
        expanded = student[:targets]
        if config.expansion_of == "mean":
            expanded = (expanded + teacher) / 2
        expansion = (1 / d + 1 / n) * coding_rate(expanded, d / (n * config.eps)).mean()
    total = -config.compression_weight * similarity - expansion
    return {"loss": total, "compression": similarity, "expansion": expansion}
