"""VICReg: variance, invariance and covariance of two views.

Bardes et al., arXiv 2105.04906; checked against facebookresearch/vicreg's numbers.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.methods import Context, Outputs, any_batch, no_modules, two_views
from transferbench.settings import Settings


class Config(Settings):
    """VICReg's settings, the official ones (CW-RGP's code weighs the variance twice; spec 1.7, 10)."""

    invariance_weight: float = Field(25.0, ge=0)
    variance_weight: float = Field(25.0, ge=0)
    covariance_weight: float = Field(1.0, ge=0)
    eps: float = Field(1e-4, gt=0, description="added to variances under the root")


routes = two_views
modules = no_modules
check = any_batch


def variance(z: Float[Tensor, "n d"], eps: float) -> Float[Tensor, ""]:
    """How far standard deviations stay below 1, averaged over channels."""
    return torch.relu(1 - (z.var(0) + eps).sqrt()).mean()


def covariance(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Sum of squared covariances of different channels over d, from the smaller side (spec, performance 2a, 4)."""
    n, d = z.shape
    x = z - z.mean(0)
    squares = (x @ x.T if n < d else x.T @ x).square().sum()
    return (squares - x.square().sum(0).square().sum()) / (n - 1) ** 2 / d


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """The three terms over the global batch (spec 1.4, golden)."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        a, b = (context.gather(z) for z in outputs.student)
        invariance = (a - b).square().mean()
        spread = (variance(a, config.eps) + variance(b, config.eps)) / 2
        decorrelation = covariance(a) + covariance(b)
    total = (
        config.invariance_weight * invariance
        + config.variance_weight * spread
        + config.covariance_weight * decorrelation
    )
    return {"loss": total, "invariance": invariance, "variance": spread, "covariance": decorrelation}
