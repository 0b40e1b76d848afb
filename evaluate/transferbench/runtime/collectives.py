"""Sums and concatenations over processes that gradients pass through."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Gather(torch.autograd.Function):
    """Concatenate over ranks; each rank receives its own part of the gradient, summed over all, and nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """All ranks' rows, in rank order."""
        ctx.shape = x.shape
        rows = x.new_empty((dist.get_world_size() * x.shape[0], *x.shape[1:]))
        dist.all_gather_into_tensor(rows, x.contiguous())
        return rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """This rank's rows of the sum."""
        own = gradients[0].new_empty(ctx.shape)
        dist.reduce_scatter_tensor(own, gradients[0].contiguous())
        return own


class Total(torch.autograd.Function):
    """Sum over ranks, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The sum, on every rank."""
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The sum of the gradients, on every rank."""
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def require_equal_rows(x: Tensor) -> None:
    """Raise ValueError, on every rank, when the ranks hold tensors of different lengths."""
    lengths = torch.empty(dist.get_world_size(), dtype=torch.int64, device=x.device)
    dist.all_gather_into_tensor(lengths, torch.tensor([x.shape[0]], device=x.device))
    if len(set(lengths.tolist())) > 1:
        raise ValueError(f"gather needs the same number of rows from every process, found {lengths.tolist()}")
