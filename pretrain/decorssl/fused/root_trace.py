"""The trace of a covariance's root; the formula is in `decorssl.uniformity.w2`."""

from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from transferbench.runtime.autograd import applied


def root_trace(x: Float64[Tensor, "n d"], share: float, eps: float) -> Float64[Tensor, ""]:
    """tr((share X^T X + eps I)^(1/2)), from the smaller of X^T X and X X^T (docs/methods.md#smaller-side).

    Without eps it is the sum of the singular values of sqrt(share) X, which has no derivative where one of them is 0:
    such a direction gets the subgradient 0, where autograd through an eigendecomposition divides by it.
    """
    return applied(_RootTrace, x, share, eps)


class _RootTrace(torch.autograd.Function):
    """dX = share X S^(-1/2), which is bounded: without eps it is sqrt(share) times X's polar factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float, eps: float) -> Tensor:
        n, d = x.shape
        values, vectors = torch.linalg.eigh((x @ x.mT if n < d else x.mT @ x) * share)
        rounding = values[-1] * len(values) * torch.finfo(values.dtype).eps
        roots = (torch.where(values > rounding, values, 0.0) + eps).sqrt()
        ctx.save_for_backward(x, vectors, torch.where(roots > 0, roots.reciprocal(), 0.0))
        ctx.share = share
        return roots.sum() + max(d - n, 0) * eps**0.5

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, vectors, inverse = ctx.saved_tensors
        slope = (vectors * (inverse * (ctx.share * gradients[0]))) @ vectors.mT
        return slope @ x if x.shape[0] < x.shape[1] else x @ slope, None, None
