"""Inner products of rows: `x @ x.mT`, and those that a loss compares; the plain products are the formula."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied


def gram(rows: Float[Tensor, "*batch v o"]) -> Float[Tensor, "*batch v v"]:
    """Inner products of all pairs of rows."""
    return applied(_Gram, rows)


def inner_products(rows: Float[Tensor, "*batch v o"]) -> Float[Tensor, "*batch v v"]:
    """`gram` without a gradient: the upper right quarter of X X^T is the lower left, turned."""
    half = rows.shape[-2] // 2
    result = rows.new_empty(*rows.shape[:-1], rows.shape[-2])
    torch.matmul(rows[..., half:, :], rows.mT, out=result[..., half:, :])
    torch.matmul(rows[..., :half, :], rows[..., :half, :].mT, out=result[..., :half, :half])
    result[..., :half, half:] = result[..., half:, :half].mT
    return result


class _Gram(torch.autograd.Function):
    """X X^T, whose gradient (G + G^T) X is one product where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return inner_products(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        return (gradients[0] + gradients[0].mT) @ rows


def gram_squares(x: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """|X^T X|_F^2, which is |X X^T|_F^2."""
    return applied(_GramSquares, x)


class _GramSquares(torch.autograd.Function):
    """From the smaller of both, whose product with X is the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, d = x.shape
        side = inner_products(x) if n <= d else x.T @ x
        ctx.save_for_backward(x, side)
        return side.square().sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, side = ctx.saved_tensors
        n, d = x.shape
        slope = side * (4 * gradients[0])
        return slope @ x if n <= d else x @ slope


def compared_grams(views: Sequence[Float[Tensor, "n d"]]) -> tuple[list[Tensor], list[Tensor]]:
    """Inner products of centered samples: (of each view's with its own, of the others' with the first view's)."""
    exact = [z.to(torch.promote_types(z.dtype, torch.float32)) for z in views]
    matrices = applied(_ComparedGrams, *exact)
    return list(matrices[: len(views)]), list(matrices[len(views) :])


class _ComparedGrams(torch.autograd.Function):
    """Gradients are matrices times centered rows: their rows sum to zero, and centering leaves them as they are."""

    @staticmethod
    def forward(ctx: Any, *views: Tensor) -> tuple[Tensor, ...]:
        rows = [z - z.mean(1, keepdim=True) for z in views]
        ctx.save_for_backward(*rows)
        return (*map(inner_products, rows), *(x @ rows[0].T for x in rows[1:]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows = ctx.saved_tensors
        own, cross = gradients[: len(rows)], gradients[len(rows) :]
        others = [((g + g.T) @ x).addmm_(c, rows[0]) for x, g, c in zip(rows[1:], own[1:], cross, strict=True)]
        if not ctx.needs_input_grad[0]:
            return (None, *others)
        first = (own[0] + own[0].T) @ rows[0]
        for x, c in zip(rows[1:], cross, strict=True):
            first.addmm_(c.T, x)
        return (first, *others)
