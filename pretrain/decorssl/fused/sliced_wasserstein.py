"""The sliced Wasserstein distance from a Gaussian; the formula is `decorssl.methods.visreg.shape`."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied


def mean_distance(
    samples: Float[Tensor, "v n d"], directions: Iterable[Float[Tensor, "_ d"]], quantiles: Float[Tensor, "n"]
) -> Float[Tensor, ""]:
    """The mean over samples (views), directions and places of (ordered projection - quantile)^2.

    Args:
        samples: rows of each view.
        directions: unit rows in chunks.
        quantiles: what ordered projections are to be, in ascending order.
    """
    return applied(_SlicedWasserstein, samples, directions, quantiles)


class _SlicedWasserstein(torch.autograd.Function):
    """The gradient is summed up along with the value; through a sort it goes by the sort's permutation."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor, directions: Iterable[Tensor], quantiles: Tensor) -> Tensor:
        v, n, d = samples.shape
        rows = samples.reshape(-1, d)
        gradient, total, count = torch.zeros_like(rows), samples.new_zeros(()), 0
        for chunk in directions:
            projections = (chunk @ rows.T).view(-1, v, n)
            ordered, places = projections.sort(-1)
            excess = ordered.sub_(quantiles)
            total += excess.square().sum()
            count += len(chunk)
            if ctx.needs_input_grad[0]:
                slope = projections.scatter_(-1, places, excess).view(len(chunk), -1)
                gradient.addmm_(slope.T, chunk)
        size = count * v * n
        ctx.save_for_backward(gradient.mul_(2 / size).view_as(samples))
        return total / size

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * gradients[0], None, None)
