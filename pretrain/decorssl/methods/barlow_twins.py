"""Barlow Twins: the cross-correlation of two views pulled towards the identity.

L = sum_i (c_ii - 1)^2 + lambda sum_(i != j) c_ij^2 with C = A^T B / n, the channels of both views A and B
standardized over the batch.

Zbontar et al., arXiv 2103.03230; checked against facebookresearch/barlowtwins' numbers
(docs/methods.md#barlow-twins).
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.fused import barlow_twins as fused
from decorssl.methods import Context, Outputs, any_batch, no_modules, two_views
from transferbench.settings import Settings


class Config(Settings):
    """Barlow Twins' settings."""

    off_diagonal_weight: float = Field(0.0051, ge=0, description="the paper's lambda")
    eps: float = Field(1e-5, gt=0, description="epsilon of the standardization")


routes = two_views
modules = no_modules
check = any_batch


def terms(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], eps: float) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(sum_i (c_ii - 1)^2, sum_(i != j) c_ij^2) as the paper writes them.

    `fused.terms` is the same, sooner: `loss` calls it, tests/reference/test_fused.py holds it to this in float64.
    """
    x, y = ((z - z.mean(0)) / (z.var(0, correction=0) + eps).sqrt() for z in (a, b))
    c = x.T @ y / len(x)
    diagonal = c.diagonal()
    return (diagonal - 1).square().sum(), (c - torch.diag(diagonal)).square().sum()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Both terms over the global batch."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        a, b = (context.gather(z) for z in outputs.student)
        on, off = fused.terms(a, b, config.eps)
    return {"loss": on + config.off_diagonal_weight * off, "on_diagonal": on, "off_diagonal": off}
