"""Whitening through the spectrum or a factor of covariances, many at a time."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from decorssl.fused.grams import gram
from transferbench.runtime.autograd import applied

Rows = Float[Tensor, "*batch variables observations"]
Square = Float[Tensor, "*batch v v"]
Factor = Literal["zca", "pca", "cholesky"]
"""Which W with W Sigma W^T = I: the symmetric one, the rotated one, or the triangular one."""


def covariances(rows: Rows, observations: int, eps: float = 0.0) -> Square:
    """(1 - eps) Sigma + eps I, Sigma the inner products of centered rows over `observations`.

    Those are o - 1 for the unbiased estimate and o for the biased.
    """
    sigma = gram(rows) * ((1 - eps) / observations)
    return sigma + eps * torch.eye(sigma.shape[-1], dtype=sigma.dtype, device=sigma.device) if eps else sigma


def whiten(rows: Rows, observations: int, factor: Factor = "zca", eps: float = 0.0) -> Rows:
    """Centered rows multiplied by W of (1 - eps) Sigma + eps I (docs/methods.md#whitening).

    Computed in float64 where float32 cannot tell the smallest eigenvalue from rounding. Such a direction would not be
    whitened, and a network learns to hide in it: the loss falls by making one direction a million times larger.
    Fastest where a variable's observations are not adjacent in memory, as in `x.mT` of samples x channels.
    """
    if factor == "zca":
        return applied(_Whitened, rows.mT, (1 - eps) / observations, eps).mT
    sigma = covariances(rows, observations, eps)
    if sigma.dtype == torch.float32 and is_unresolved(sigma.detach()):
        return whiten(rows.double(), observations, factor, eps).float()
    if factor == "cholesky":
        return torch.linalg.solve_triangular(triangular_root(sigma), rows, upper=False)
    return (rows.mT @ rotated_root(sigma).mT).mT


def is_unresolved(sigma: Square) -> bool:
    """Whether an eigenvalue of any matrix is too near its trace's rounding error to be told from it, or not finite."""
    lowered = sigma.clone()
    lowered.diagonal(dim1=-2, dim2=-1).sub_(_unresolved(sigma).unsqueeze(-1))
    return bool(torch.linalg.cholesky_ex(lowered).info.any())


def inverse_root(sigma: Square) -> Square:
    """Sigma^(-1/2) of symmetric matrices, with a gradient that stays finite on equal eigenvalues.

    Eigenvalues below the rounding error of the largest count as that error, so that singular matrices give large
    numbers and not infinite ones. Source: docs/methods.md#whitening.
    """
    return applied(_InverseRoot, sigma)


def rotated_root(sigma: Square) -> Square:
    """Lambda^(-1/2) U^T of symmetric matrices U Lambda U^T, smallest eigenvalue first; small ones as `inverse_root`.

    The basis of an eigenspace of several dimensions is the solver's choice, and the derivative of an eigenvector has
    1 / (l_i - l_j) in it. That is taken as g / (g^2 + e^2) of the gap g, with e the rounding error of the largest
    eigenvalue: exact where eigenvalues can be told apart, no rotation where they are equal, and finite.
    """
    return applied(_RotatedRoot, sigma)


def triangular_root(sigma: Square) -> Square:
    """The lower L with L L^T = Sigma.

    A matrix that is not positive definite to the last digit (fewer observations than variables, a constant batch) gets
    a ridge: the rounding error of its largest diagonal element, or ten, a hundred ... a million times that, the least
    that serves.

    Raises:
        torch.linalg.LinAlgError: if none does, as when a matrix is not finite.
    """
    factor, failed = torch.linalg.cholesky_ex(sigma)
    error = _rounding(sigma.detach().diagonal(dim1=-2, dim2=-1).amax(-1), sigma.shape[-1])
    ridge = torch.zeros_like(error)
    for power in range(7):
        if not failed.any():
            break
        ridge = torch.where(failed > 0, 10**power * error, ridge)
        ridged = sigma + torch.diag_embed(ridge.unsqueeze(-1).expand(sigma.shape[:-1]))
        factor, failed = torch.linalg.cholesky_ex(ridged, check_errors=power == 6)
    return factor


def reordered(x: Float[Tensor, "n *rest"], order: Int64[Tensor, "n"]) -> Float[Tensor, "n *rest"]:
    """The entries of `x` in another order, each once."""
    return applied(_Reordered, x, order)


def inverse(order: Int64[Tensor, "n"]) -> Int64[Tensor, "n"]:
    """The permutation that undoes `order`."""
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))


class _InverseRoot(torch.autograd.Function):
    """Sigma^(-1/2) by its spectrum."""

    @staticmethod
    def forward(ctx: Any, sigma: Tensor) -> Tensor:
        roots, vectors, scaled = _spectrum(sigma)
        ctx.save_for_backward(roots, vectors, scaled)
        return scaled @ vectors.mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        roots, vectors, scaled = ctx.saved_tensors
        return _inverse_root_gradient(roots, vectors, scaled, gradients[0])


class _Whitened(torch.autograd.Function):
    """X W with W = Sigma^(-1/2) and Sigma = share X^T X + eps I, in as few passes as there are products."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, share: float, eps: float) -> Tensor:
        sigma = (columns.mT @ columns).mul_(share)
        sigma.diagonal(dim1=-2, dim2=-1).add_(eps)
        values, vectors = torch.linalg.eigh(sigma)
        if columns.dtype == torch.float32 and not bool((values[..., 0] > _unresolved(sigma)).all()):
            return _Whitened.forward(ctx, columns.double(), share, eps).float()
        roots = _roots(values)
        scaled = vectors / roots.unsqueeze(-2)
        root = scaled @ vectors.mT
        ctx.save_for_backward(roots, vectors, scaled, root, columns)
        ctx.share = share
        return columns @ root

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        roots, vectors, scaled, root, columns = ctx.saved_tensors
        gradient = gradients[0].to(columns.dtype)
        slope = _inverse_root_gradient(roots, vectors, scaled, gradient.mT @ columns)
        direct, flat, slopes = (x.reshape(-1, *x.shape[-2:]) for x in (gradient @ root, columns, slope))
        result = direct.baddbmm_(flat, slopes, alpha=2 * ctx.share).view_as(columns)
        return result.to(gradients[0].dtype), None, None


class _RotatedRoot(torch.autograd.Function):
    """dSigma = U sym(F o (U^T dU) + diag(dl)) U^T with F_ij = 1 / (l_j - l_i), damped."""

    @staticmethod
    def forward(ctx: Any, sigma: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(sigma)
        roots = _roots(values)
        ctx.save_for_backward(values, roots, vectors)
        return vectors.mT / roots.unsqueeze(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        values, roots, vectors = ctx.saved_tensors
        turned = vectors.mT @ gradients[0].mT / roots.unsqueeze(-2)
        gaps = values.unsqueeze(-2) - values.unsqueeze(-1)
        error = _rounding(values[..., -1], values.shape[-1])[..., None, None]
        inner = turned * gaps / (gaps.square() + error.square())
        inner.diagonal(dim1=-2, dim2=-1).copy_(-0.5 * turned.diagonal(dim1=-2, dim2=-1) / roots.square())
        return vectors @ ((inner + inner.mT) / 2) @ vectors.mT


class _Reordered(torch.autograd.Function):
    """The gradient of a permutation is gathered by its inverse, where autograd would scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors
        return gradients[0].index_select(0, inverse(order)), None


def _rounding(largest: Float[Tensor, "*batch"], variables: int) -> Float[Tensor, "*batch"]:
    """What rounding makes of a zero eigenvalue beside one of `largest`; never nothing."""
    return (largest * variables * torch.finfo(largest.dtype).eps).clamp_min(1e-20)


def _unresolved(sigma: Square) -> Float[Tensor, "*batch"]:
    """Below this an eigenvalue is as good as lost: ten rounding errors of the trace."""
    return sigma.diagonal(dim1=-2, dim2=-1).sum(-1) * (10 * torch.finfo(sigma.dtype).eps)


def _spectrum(sigma: Square) -> tuple[Tensor, Tensor, Tensor]:
    """(roots r of the eigenvalues, eigenvectors U, U / r)."""
    values, vectors = torch.linalg.eigh(sigma)
    roots = _roots(values)
    return roots, vectors, vectors / roots.unsqueeze(-2)


def _inverse_root_gradient(
    roots: Float[Tensor, "*batch v"], vectors: Square, scaled: Square, gradient: Square
) -> Square:
    """U (K o (U^T G U)) U^T, symmetric part, with K_ij = -1 / (r_i r_j (r_i + r_j))."""
    inner = scaled.mT @ gradient @ scaled
    inner = (inner + inner.mT).div_(roots.unsqueeze(-1) + roots.unsqueeze(-2)).mul_(-0.5)
    return vectors @ inner @ vectors.mT


def _roots(values: Float[Tensor, "*batch v"]) -> Float[Tensor, "*batch v"]:
    return torch.maximum(values, _rounding(values[..., -1], values.shape[-1]).unsqueeze(-1)).sqrt()
