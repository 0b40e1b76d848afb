"""Sums of singular values; the formula is `decorssl.methods.mmcr.nuclear_norms`."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from decorssl.fused.grams import inner_products
from transferbench.runtime.autograd import applied


def nuclear_norms(matrices: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch"]:
    """Of each matrix, by the spectrum of its smaller side (docs/methods.md#smaller-side)."""
    return applied(_NuclearNorms, matrices)


def nuclear_norms_of_pairs(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    """Of each matrix of two rows of equal length: their singular values are |a + b| / sqrt(2) and |a - b| / sqrt(2)."""
    return ((a + b).norm(dim=1) + (a - b).norm(dim=1)) / math.sqrt(2)


class _NuclearNorms(torch.autograd.Function):
    """With G = M M^T the norm is the sum of the roots of its eigenvalues, and its gradient G^(-1/2) M.

    A root halves the digits, so all of it is float64: singular values of a float32 matrix are known down to its own
    rounding, as by a singular value decomposition. Smaller ones count as that rounding in the gradient, which is then
    shorter than 1 along them.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> Tensor:
        n, d = matrices.shape[-2:]
        exact = matrices.double()
        values, vectors = torch.linalg.eigh(inner_products(exact if n <= d else exact.mT))
        error = values[..., -1:] * values.shape[-1] * torch.finfo(values.dtype).eps
        roots = torch.maximum(values, error).clamp_min(1e-60).sqrt()
        ctx.save_for_backward(matrices, (vectors / roots.unsqueeze(-2)) @ vectors.mT)
        return values.clamp_min(0).sqrt().sum(-1).to(matrices.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        matrices, inverse_root = ctx.saved_tensors
        n, d = matrices.shape[-2:]
        scaled, exact = inverse_root * gradients[0][..., None, None], matrices.double()
        return (scaled @ exact if n <= d else exact @ scaled).to(matrices.dtype)
