"""Functions of symmetric matrices, U g(Lambda) U^T, with a gradient that equal eigenvalues leave finite."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied

Square = Float[Tensor, "*batch v v"]


@dataclass(frozen=True)
class Scalar:
    """A function g of one number, taken of tensors element by element."""

    value: Callable[[Tensor], Tensor]
    quotient: Callable[[Tensor, Tensor], Tensor]
    """The divided difference (g(a) - g(b)) / (a - b), which is g'(a) where a = b; without cancellation."""


def power(p: float) -> Scalar:
    """x^(-p), for positive x and p in 0 to 1; 0.5 is ZCA whitening (docs/methods.md#st).

    With r = (larger - smaller) / smaller, the quotient is smaller^(-p-1) ((1 + r)^(-p) - 1) / r.
    """

    def quotient(a: Tensor, b: Tensor) -> Tensor:
        small = torch.minimum(a, b)
        r = (torch.maximum(a, b) - small) / small
        apart = r > 0
        safe = torch.where(apart, r, 1.0)
        return small ** (-p - 1) * torch.where(apart, torch.expm1(-p * torch.log1p(safe)) / safe, -p)

    return Scalar(lambda x: x**-p, quotient)


def newton(iterations: int) -> Scalar:
    """f_T, to which IterNorm's Newton steps map an eigenvalue over the trace (docs/methods.md#st).

    f_0 = 1 and f_(k+1)(x) = 1.5 f_k - 0.5 x f_k^3; the quotient follows by the rule for products.
    """

    def value(x: Tensor) -> Tensor:
        f = torch.ones_like(x)
        for _ in range(iterations):
            f = 1.5 * f - 0.5 * x * f**3
        return f

    def quotient(a: Tensor, b: Tensor) -> Tensor:
        f, g, q = torch.ones_like(a), torch.ones_like(b), torch.zeros_like(a + b)
        for _ in range(iterations):
            q = 1.5 * q - 0.5 * (f**3 + b * q * (f * f + f * g + g * g))
            f, g = 1.5 * f - 0.5 * a * f**3, 1.5 * g - 0.5 * b * g**3
        return q

    return Scalar(value, quotient)


def matrix_function(sigma: Square, g: Scalar) -> Square:
    """g of positive semi-definite matrices.

    Eigenvalues below the rounding error of the largest count as that error, so that a power of a singular matrix is
    large and not infinite.
    """
    return applied(_MatrixFunction, sigma, g)


class _MatrixFunction(torch.autograd.Function):
    """dSigma = U (K o (U^T G U)) U^T with K the divided differences of all pairs (Daleckii and Krein's theorem)."""

    @staticmethod
    def forward(ctx: Any, sigma: Tensor, g: Scalar) -> Tensor:
        values, vectors = torch.linalg.eigh(sigma)
        error = values[..., -1:] * values.shape[-1] * torch.finfo(values.dtype).eps
        values = torch.maximum(values, error).clamp_min(1e-16)
        ctx.save_for_backward(values, vectors)
        ctx.g = g
        return (vectors * g.value(values).unsqueeze(-2)) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        symmetric = (gradients[0] + gradients[0].mT) / 2
        quotients = ctx.g.quotient(values.unsqueeze(-1), values.unsqueeze(-2))
        return vectors @ (quotients * (vectors.mT @ symmetric @ vectors)) @ vectors.mT, None
