"""What VICReg needs of a view; the formula is `decorssl.methods.vicreg.moments`."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from decorssl.fused.grams import inner_products
from transferbench.runtime.autograd import applied


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
