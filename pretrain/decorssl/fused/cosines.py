"""Cosines of all pairs of views; the formula is `decorssl.pairs.normalized_mse` of each pair."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied


def paired_cosines(views: Float[Tensor, "v *batch d"]) -> Float[Tensor, "*batch"]:
    """Each row's cosines between views, summed over pairs of views."""
    return applied(_PairedCosines, views)


class _PairedCosines(torch.autograd.Function):
    """Work for each view, and not for each pair.

    With unit vectors u_i and their sum m it is (|m|^2 - sum |u_i|^2) / 2; the gradient for view i is m less its part
    along u_i, over the row's length. No unit vector is stored.
    """

    @staticmethod
    def forward(ctx: Any, views: Tensor) -> Tensor:
        lengths = torch.stack([z.square().sum(-1, keepdim=True) for z in views]).sqrt()
        inverses = lengths.clamp_min(1e-12).reciprocal()
        total = views[0] * inverses[0]
        for z, inverse in zip(views[1:], inverses[1:], strict=True):
            total.addcmul_(z, inverse)
        ctx.save_for_backward(views, total, inverses)
        own = (lengths * inverses).square().sum(0).squeeze(-1)
        return (total.square().sum(-1) - own) / 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        views, total, inverses = ctx.saved_tensors
        outer, result = gradients[0].unsqueeze(-1) * inverses, torch.empty_like(views)
        for z, inverse, scale, out in zip(views, inverses, outer, result, strict=True):
            along = (z * total).sum(-1, keepdim=True) * inverse.square()
            torch.mul(total, scale, out=out).addcmul_(z, along * scale, value=-1)
        return result
