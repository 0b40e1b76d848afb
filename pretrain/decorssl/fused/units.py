"""Rows or channels scaled to length 1; the formula is `torch.nn.functional.normalize`."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied


def unit_vectors(z: Float[Tensor, "*batch n d"], dim: int = -1) -> Float[Tensor, "*batch n d"]:
    """Rows, or with `dim` -2 channels, over their lengths, or over 1e-12 where these are shorter."""
    return applied(_Units, z, dim)


class _Units(torch.autograd.Function):
    """The gradient less its part along the unit, over the length."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, dim: int) -> Tensor:
        length = torch.linalg.vector_norm(z, dim=dim, keepdim=True).clamp_min_(1e-12)
        unit = z / length
        ctx.save_for_backward(unit, length)
        ctx.dim = dim
        return unit

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        unit, length = ctx.saved_tensors
        along = (unit * gradients[0]).sum(ctx.dim, keepdim=True)
        return torch.addcmul(gradients[0], unit, along, value=-1).div_(length), None
