"""Rows of length 1; the formula is `torch.nn.functional.normalize` along the last dimension."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied


def unit_rows(z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Each row over its length, or over 1e-12 where it is shorter."""
    return applied(_UnitRows, z)


class _UnitRows(torch.autograd.Function):
    """The gradient is the incoming one less its part along the row, over the row's length."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(z, dim=-1, keepdim=True).clamp_min_(1e-12)
        units = z / lengths
        ctx.save_for_backward(units, lengths)
        return units

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        units, lengths = ctx.saved_tensors
        along = torch.linalg.vecdot(units, gradients[0]).unsqueeze(-1)
        return torch.addcmul(gradients[0], units, along, value=-1).div_(lengths)
