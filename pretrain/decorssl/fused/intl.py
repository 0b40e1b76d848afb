"""INTL's terms between samples, from inner products alone; the formula is `decorssl.methods.intl.plain_terms`."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from decorssl.fused.grams import compared_grams
from transferbench.runtime.autograd import applied


def terms(
    views: Sequence[Float[Tensor, "n d"]], inverse_root: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """(mean alignment of views with the first, mean trace loss of the others, the first's); no embedding is whitened.

    With Z = W X, norms and variances of whitened rows are diag(W X X^T W) and inner products between two views are
    diag(W_1 X_1 X_2^T W_2) (docs/methods.md#smaller-side). W is the symmetric `inverse_root` of a covariance.
    """
    observations = views[0].shape[1] - 1
    grams, crossed = compared_grams(views)
    first, *others = [inverse_root(g / observations) for g in grams]
    own, *squares = [applied(_Squares, w, g) for w, g in zip([first, *others], grams, strict=True)]
    inner = [((w @ c) * first).sum(1) for w, c in zip(others, crossed, strict=True)]
    lengths = [(square * own).clamp_min(1e-24).rsqrt() for square in squares]
    cosines = torch.stack([x * length for x, length in zip(inner, lengths, strict=True)])
    traces = torch.stack([(square / observations - 1).square().sum() for square in (own, *squares)])
    return 2 - 2 * cosines.mean(), traces[1:].mean(), traces[0]


class _Squares(torch.autograd.Function):
    """diag(W G W^T) for a symmetric G: two products with the gradient, where autograd takes three."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, g: Tensor) -> Tensor:
        product = w @ g
        ctx.save_for_backward(w, product)
        return (product * w).sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        w, product = ctx.saved_tensors
        outer = gradients[0].unsqueeze(1)
        return product * (2 * outer), w.T @ (w * outer)
