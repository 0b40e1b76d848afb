"""Both terms of Barlow Twins; the formula is `decorssl.methods.barlow_twins.terms`."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from decorssl.fused.grams import inner_products
from transferbench.runtime.autograd import applied


def terms(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], eps: float) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """(sum over the diagonal of (c - 1)^2, sum of squares off it) of the cross-correlation C; at least float32."""
    a, b = (z.to(torch.promote_types(z.dtype, torch.float32)) for z in (a, b))
    return applied(_Terms, a, b, eps)


class _Terms(torch.autograd.Function):
    """Both of C = X^T Y / n, from d x d or n x n matrices, whichever is smaller.

    X and Y are the views with channels of mean 0 and (biased) variance 1. The sum of all C^2 is <X X^T, Y Y^T> / n^2
    (docs/methods.md#smaller-side). What reaches X through C has columns that sum to zero, so the way back through
    the standardization is s (dX - X mean(dX o X)), s the inverse deviations.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        (x, s), (y, t) = _standardized(a, eps), _standardized(b, eps)
        n, d = x.shape
        if n < d:
            sides = inner_products(x).div_(n), inner_products(y).div_(n)
            diagonal, squares = (x * y).mean(0), (sides[0] * sides[1]).sum()
        else:
            sides = ((x.T @ y).div_(n),)
            diagonal, squares = sides[0].diagonal().clone(), sides[0].square().sum()
        ctx.save_for_backward(x, s, y, t, diagonal, *sides)
        return (diagonal - 1).square().sum(), squares - diagonal.square().sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, s, y, t, diagonal, *sides = ctx.saved_tensors
        on, off = (2 * g / len(x) for g in gradients)
        if len(sides) == 2:
            of_diagonal = on * (diagonal - 1) - off * diagonal
            dx = (y * of_diagonal).addmm_(sides[1] * off, x)
            dy = (x * of_diagonal).addmm_(sides[0] * off, y)
            along = (dx * x).mean(0), (dy * y).mean(0)
            return dx.addcmul_(x, along[0], value=-1).mul_(s), dy.addcmul_(y, along[1], value=-1).mul_(t), None
        (c,) = sides
        slope = c * off
        slope.diagonal().copy_(on * (diagonal - 1))
        along = slope * c
        da = (y @ (slope.T * s)).addcmul_(x, along.sum(1) * s, value=-1)
        return da, (x @ (slope * t)).addcmul_(y, along.sum(0) * t, value=-1), None


def _standardized(z: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """(Channels of mean 0 and biased variance 1, one over the deviations they had)."""
    x, _, scale = torch.native_batch_norm(z, None, None, None, None, True, 0.0, eps)
    return x, scale
