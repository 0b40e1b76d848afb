"""Whitening through the spectrum or a factor of covariances, many at a time."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Rows = Float[Tensor, "*batch variables observations"]
Square = Float[Tensor, "*batch v v"]
Factor = Literal["zca", "pca", "cholesky"]
"""Which W with W Sigma W^T = I: the symmetric one, the rotated one, or the triangular one."""


def covariances(rows: Rows, observations: int) -> Square:
    """Inner products of centred rows over `observations` (o - 1 for the unbiased estimate, o for the biased)."""
    return rows @ rows.mT / observations


def whiten(rows: Rows, observations: int, factor: Factor = "zca", eps: float = 0.0) -> Rows:
    """Centred rows multiplied by W of (1 - eps) Sigma + eps I (spec 1.3 "Whitening2d", [code])."""
    sigma = covariances(rows, observations)
    if eps:
        sigma = (1 - eps) * sigma + eps * torch.eye(sigma.shape[-1], dtype=sigma.dtype, device=sigma.device)
    if factor == "cholesky":
        return torch.linalg.solve_triangular(torch.linalg.cholesky(sigma), rows, upper=False)
    if factor == "pca":
        values, vectors = torch.linalg.eigh(sigma)
        return _roots(values).reciprocal().unsqueeze(-1) * (vectors.mT @ rows)
    return inverse_root(sigma) @ rows


def inverse_root(sigma: Square) -> Square:
    """Sigma^(-1/2) of symmetric matrices, with a gradient that stays finite on equal eigenvalues (spec 1.6, [ver]).

    Eigenvalues below the rounding error of the largest count as that error, so that singular matrices give large
    numbers and not infinite ones.
    """
    return _InverseRoot.apply(sigma)  # pyright: ignore[reportReturnType]


class _InverseRoot(torch.autograd.Function):
    """dSigma = U (K o (U^T G U)) U^T with K_ij = -1 / (r_i r_j (r_i + r_j)), r the roots of the eigenvalues."""

    @staticmethod
    def forward(ctx: Any, sigma: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(sigma)
        roots = _roots(values)
        ctx.save_for_backward(roots, vectors)
        return (vectors / roots.unsqueeze(-2)) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        roots, vectors = ctx.saved_tensors
        symmetric = (gradients[0] + gradients[0].mT) / 2
        r, s = roots.unsqueeze(-1), roots.unsqueeze(-2)
        return -(vectors @ ((vectors.mT @ symmetric @ vectors) / (r * s * (r + s))) @ vectors.mT)


def _roots(values: Float[Tensor, "*batch v"]) -> Float[Tensor, "*batch v"]:
    error = values[..., -1:] * values.shape[-1] * torch.finfo(values.dtype).eps
    return torch.maximum(values, error).clamp_min(1e-20).sqrt()


def regrouped(x: Float[Tensor, "*batch d"], order: Int64[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Channels in another order, one order a batch entry."""
    return x.gather(-1, order)


def restored(x: Float[Tensor, "*batch d"], order: Int64[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
    """Undo `regrouped` with the same order."""
    return x.gather(-1, order.argsort(-1))
