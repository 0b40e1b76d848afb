"""CorInfoMax's estimates and their log-determinant; the formula is `decorssl.methods.corinfomax.updated`."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from decorssl.fused.grams import inner_products
from transferbench.runtime.autograd import applied


def updated(
    z: Float[Tensor, "n d"], mean: Float[Tensor, "d"], covariance: Float[Tensor, "d d"], memories: tuple[float, float]
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "d"], Float[Tensor, "d d"]]:
    """(centered rows, mean, covariance) that follow on those given, in float64; without a gradient.

    Args:
        memories: shares of the past in the mean and in the covariance.
    """
    of_mean, of_covariance = memories
    rows = z.to(torch.float64, copy=True)
    following = rows.mean(0).mul_(1 - of_mean).add_(mean, alpha=of_mean)
    rows -= following
    seen = inner_products(rows.T).mul_((1 - of_covariance) / len(z))
    return rows, following, seen.add_(covariance, alpha=of_covariance)


def log_determinant(
    z: Float[Tensor, "n d"],
    mean: Float[Tensor, "d"],
    covariance: Float[Tensor, "d d"],
    memories: tuple[float, float],
    eps: float,
) -> Float[Tensor, ""]:
    """log det(R + eps I), R the covariance that follows on that given; float64 within, the input's type without."""
    return applied(_LogDeterminant, z, mean, covariance, memories, eps)


class _LogDeterminant(torch.autograd.Function):
    """The gradient for centered rows X is a multiple of X (R + eps I)^-1.

    Centering takes the new share of its mean back. Eigenvalues of R + eps I are eps or more, so a Cholesky factor is
    always there.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, mean: Tensor, covariance: Tensor, memories: tuple[float, float], eps: float
    ) -> Tensor:
        rows, _, side = updated(z, mean, covariance, memories)
        side.diagonal().add_(eps)
        root = torch.linalg.cholesky_ex(side)[0]
        ctx.save_for_backward(rows, root)
        ctx.memories, ctx.dtype = memories, z.dtype
        return root.diagonal().log().sum().mul_(2).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, root = ctx.saved_tensors
        of_mean, of_covariance = ctx.memories
        outer = gradients[0] * (2 * (1 - of_covariance) / len(rows))
        slope = rows @ torch.cholesky_inverse(root).mul_(outer)
        return slope.sub_(slope.mean(0), alpha=1 - of_mean).to(ctx.dtype), None, None, None, None
