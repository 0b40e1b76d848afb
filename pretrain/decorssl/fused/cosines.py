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
    along u_i, over the row's length.
    """

    @staticmethod
    def forward(ctx: Any, views: Tensor) -> Tensor:
        lengths = [z.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-12) for z in views]
        units, total = torch.empty_like(views), torch.zeros_like(views[0])
        for unit, z, length in zip(units, views, lengths, strict=True):
            total += torch.div(z, length, out=unit)
        own = torch.stack([unit.square().sum(-1) for unit in units]).sum(0)
        ctx.save_for_backward(units, total, *lengths)
        return (total.square().sum(-1) - own) / 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        units, total, *lengths = ctx.saved_tensors
        outer, result = gradients[0].unsqueeze(-1), torch.empty_like(units)
        for unit, length, out in zip(units, lengths, result, strict=True):
            along = (unit * total).sum(-1, keepdim=True)
            torch.addcmul(total, unit, along, value=-1, out=out).mul_(outer / length)
        return result
