"""Barlow Twins: the cross-correlation of two views drawn to the identity.

Zbontar et al., arXiv 2103.03230; checked against facebookresearch/barlowtwins' numbers.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.methods import Context, Outputs, any_batch, no_modules, two_views
from transferbench.settings import Settings


class Config(Settings):
    """Barlow Twins' settings."""

    off_diagonal_weight: float = Field(0.0051, ge=0, description="the paper's lambda")
    eps: float = Field(1e-5, gt=0, description="of the standardisation")


routes = two_views
modules = no_modules
check = any_batch


def standardised(z: Float[Tensor, "n d"], eps: float) -> Float[Tensor, "n d"]:
    """Channels of mean 0 and (biased) variance 1, as batch normalisation makes them."""
    centred = z - z.mean(0)
    return centred * torch.rsqrt(centred.square().mean(0) + eps)


def terms(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], eps: float) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(sum over the diagonal of (c - 1)^2, sum of squares off it) of the cross-correlation C = A^T B / n.

    sum C^2 = <A A^T, B B^T> / n^2: the smaller side is taken (spec, performance 2a, identity 4).
    """
    x, y = standardised(a, eps), standardised(b, eps)
    n, d = x.shape
    diagonal = (x * y).sum(0) / n
    squares = ((x @ x.T) * (y @ y.T)).sum() if n < d else (x.T @ y).square().sum()
    return (diagonal - 1).square().sum(), squares / n**2 - diagonal.square().sum()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Both terms over the global batch."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        a, b = (context.gather(z) for z in outputs.student)
        on, off = terms(a, b, config.eps)
    return {"loss": on + config.off_diagonal_weight * off, "on_diagonal": on, "off_diagonal": off}
