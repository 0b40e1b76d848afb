"""VICReg: variance, invariance and covariance of two views.

L = 25/(n d) |A - B|^2 + 25/2 (V(A) + V(B)) + C(A) + C(B), with
V(Z) = 1/d sum_j max(0, 1 - sqrt(var(z_j) + eps)) and C(Z) = 1/d sum_(i != j) cov(z_i, z_j)^2 over channels.

Bardes et al., arXiv 2105.04906; checked against facebookresearch/vicreg's numbers (docs/methods.md#vicreg).
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from decorssl.fused.vicreg import moments as fused_moments
from decorssl.methods import Context, Outputs, any_batch, no_modules, two_views
from transferbench.settings import Settings


class Config(Settings):
    """VICReg's settings, the official ones."""

    invariance_weight: float = Field(
        25.0, ge=0, description="weight of the invariance term, the mean squared difference of views"
    )
    variance_weight: float = Field(
        25.0, ge=0, description="weight of the variance term, how far standard deviations are below 1"
    )
    covariance_weight: float = Field(
        1.0, ge=0, description="weight of the covariance term, squared covariances between channels"
    )
    eps: float = Field(1e-4, gt=0, description="added to variances under the root")
    variant: Literal["official", "cwrgp"] = Field(
        "official", description="CW-RGP's code sums the variance term over views, the official one averages it"
    )


routes = two_views
modules = no_modules
check = any_batch


def moments(z: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, ""]]:
    """(unbiased variances of the channels, sum of squares of their whole covariance matrix) as the paper writes them.

    `fused.vicreg.moments` is the same, sooner: `loss` calls it, tests/reference/test_fused.py holds it to this in
    float64.
    """
    c = torch.cov(z.T)
    return c.diagonal(), c.square().sum()


def variance(variances: Float[Tensor, "d"], eps: float) -> Float[Tensor, ""]:
    """How far standard deviations stay below 1, averaged over channels."""
    return torch.relu(1 - (variances + eps).sqrt()).mean()


def off_diagonal(variances: Float[Tensor, "d"], squares: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Sum of squared covariances of different channels over d, from `moments`."""
    return (squares - variances.square().sum()) / len(variances)


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """The three terms over the global batch."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        a, b = (context.gather(z) for z in outputs.student)
        invariance = mse_loss(a, b)
        (first, firsts), (second, seconds) = fused_moments(a), fused_moments(b)
        spread = variance(first, config.eps) + variance(second, config.eps)
        spread = spread / 2 if config.variant == "official" else spread
        decorrelation = off_diagonal(first, firsts) + off_diagonal(second, seconds)
    total = (
        config.invariance_weight * invariance
        + config.variance_weight * spread
        + config.covariance_weight * decorrelation
    )
    return {"loss": total, "invariance": invariance, "variance": spread, "covariance": decorrelation}
