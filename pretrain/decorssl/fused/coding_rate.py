"""Coding rates of views; the formula is `decorssl.methods.emp_ssl.coding_rate`."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from decorssl.fused.grams import inner_products
from transferbench.runtime.autograd import applied


def coding_rate(z: Float[Tensor, "v n d"], factor: float) -> Float[Tensor, "v"]:
    """1/2 log det(I + factor Z^T Z) of each view, in float64 within and of the input's type without.

    Near a collapse the largest eigenvalue is 1e5 and more while the smallest stays 1, so that float32 loses it and
    with it the way out (docs/methods.md#coding-rates).
    """
    return applied(_CodingRate, z, factor)


class _CodingRate(torch.autograd.Function):
    """From the smaller of Z^T Z and Z Z^T, which have the same determinant once the identity is added.

    The gradient is factor Z (I + factor Z^T Z)^-1 = factor (I + factor Z Z^T)^-1 Z. Eigenvalues are from 1 to
    factor n, and methods keep d / factor n at 1e-9 or more, so that a Cholesky factor is always there.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, factor: float) -> Tensor:
        rows = z.double()
        n, d = rows.shape[-2:]
        side = inner_products(rows if n < d else rows.mT).mul_(factor)
        side.diagonal(dim1=-2, dim2=-1).add_(1)
        root = torch.linalg.cholesky_ex(side)[0]
        ctx.save_for_backward(z, root)
        ctx.factor = factor
        return root.diagonal(dim1=-2, dim2=-1).log().sum(-1).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        z, root = ctx.saved_tensors
        rows = z.double()
        n, d = rows.shape[-2:]
        outer = ctx.factor * gradients[0].double()[:, None, None]
        inverse = torch.cholesky_inverse(root) * outer
        return (inverse @ rows if n < d else rows @ inverse).to(z.dtype), None
