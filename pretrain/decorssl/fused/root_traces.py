"""Traces of roots, which are sums of singular values; formulas: `methods.mmcr.nuclear_norms`, `uniformity.w2`."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from decorssl.fused.grams import inner_products
from transferbench.runtime.autograd import applied


def nuclear_norms(matrices: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch"]:
    """The sum of singular values of each matrix, by the spectrum of its smaller side (docs/methods.md#smaller-side)."""
    return applied(_RootTraces, matrices, 0.0)


def nuclear_norms_of_pairs(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    """Of each matrix of two rows of equal length: their singular values are |a + b| / sqrt(2) and |a - b| / sqrt(2)."""
    return ((a + b).norm(dim=1) + (a - b).norm(dim=1)) / math.sqrt(2)


def root_traces(matrices: Float[Tensor, "*batch n d"], eps: float) -> Float[Tensor, "*batch"]:
    """tr((M^T M + eps I)^(1/2)) of each matrix M, from the smaller of M^T M and M M^T."""
    return applied(_RootTraces, matrices, eps)


class _RootTraces(torch.autograd.Function):
    """The sum of the roots of the eigenvalues of G = M M^T; its gradient is (G + eps I)^(-1/2) M, which is bounded.

    A root halves the digits, so all of it is float64: singular values of a float32 matrix are known down to its own
    rounding, as by a singular value decomposition. An eigenvalue below float64's counts as 0. Without eps a singular
    value of 0 has no derivative: such a direction gets the subgradient 0.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, eps: float) -> Tensor:
        n, d = matrices.shape[-2:]
        exact = matrices.double()
        values, vectors = torch.linalg.eigh(inner_products(exact if n <= d else exact.mT))
        rounding = values[..., -1:] * values.shape[-1] * torch.finfo(values.dtype).eps
        roots = (torch.where(values <= rounding, 0.0, values) + eps).sqrt()
        inverse = torch.where(roots == 0, 0.0, roots.reciprocal())
        ctx.save_for_backward(matrices, (vectors * inverse.unsqueeze(-2)) @ vectors.mT)
        return (roots.sum(-1) + max(d - n, 0) * eps**0.5).to(matrices.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        matrices, inverse_root = ctx.saved_tensors
        n, d = matrices.shape[-2:]
        scaled, exact = inverse_root * gradients[0][..., None, None], matrices.double()
        return (scaled @ exact if n <= d else exact @ scaled).to(matrices.dtype), None
