"""VICReg: variance, invariance and covariance of two views.

Bardes et al., arXiv 2105.04906; checked against facebookresearch/vicreg's numbers (docs/methods.md#vicreg).
"""

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from decorssl.methods import Context, Outputs, any_batch, no_modules, two_views
from decorssl.whiten import inner_products
from transferbench.runtime.autograd import applied
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


def variance(variances: Float[Tensor, "d"], eps: float) -> Float[Tensor, ""]:
    """How far standard deviations stay below 1, averaged over channels."""
    return torch.relu(1 - (variances + eps).sqrt()).mean()


def covariance(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Sum of squared covariances of different channels over d."""
    return off_diagonal(*moments(z))


def off_diagonal(variances: Float[Tensor, "d"], squares: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """`covariance` from `moments`."""
    return (squares - variances.square().sum()) / len(variances)


def moments(z: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, ""]]:
    """(unbiased variances of the channels, sum of squares of their whole covariance matrix); at least float32."""
    return applied(_Moments, z.to(torch.promote_types(z.dtype, torch.float32)))


class _Moments(torch.autograd.Function):
    """Both from the smaller of X^T X and X X^T, X centered (docs/methods.md#smaller-side).

    Gradients are X times something from the right or X X^T X, so their columns sum to zero as those of X do: centering
    leaves them as they are.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        x = z - z.mean(0)
        n, d = x.shape
        side = (inner_products(x) if n < d else x.T @ x).div_(n - 1)
        variances = x.square().sum(0).div_(n - 1) if n < d else side.diagonal().clone()
        ctx.save_for_backward(x, side)
        return variances, side.square().sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, side = ctx.saved_tensors
        n, d = x.shape
        of_variances, of_squares = 2 * gradients[0] / (n - 1), 4 * gradients[1] / (n - 1)
        if n < d:
            return (x * of_variances).addmm_(side * of_squares, x)
        slope = side * of_squares
        slope.diagonal().add_(of_variances)
        return x @ slope


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """The three terms over the global batch."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        a, b = (context.gather(z) for z in outputs.student)
        invariance = mse_loss(a, b)
        (first, firsts), (second, seconds) = moments(a), moments(b)
        spread = variance(first, config.eps) + variance(second, config.eps)
        spread = spread / 2 if config.variant == "official" else spread
        decorrelation = off_diagonal(first, firsts) + off_diagonal(second, seconds)
    total = (
        config.invariance_weight * invariance
        + config.variance_weight * spread
        + config.covariance_weight * decorrelation
    )
    return {"loss": total, "invariance": invariance, "variance": spread, "covariance": decorrelation}
