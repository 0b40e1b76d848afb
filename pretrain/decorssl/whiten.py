"""Whitening of embeddings: centering, covariance, IterNorm. Float32 or better, whatever the autocast."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from transferbench.runtime.autograd import applied

Between = Literal["samples", "channels"]
"""Whether a covariance relates samples (n x n, over channels) or channels (d x d, over samples)."""


def observed(z: Float[Tensor, "n d"], between: Between) -> Float[Tensor, "variables observations"]:
    """`z` with the whitened variables as rows, each centered over its observations; at least float32."""
    rows = z if between == "samples" else z.T
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return rows - rows.mean(1, keepdim=True)


def covariance(rows: Float[Tensor, "v o"]) -> Float[Tensor, "v v"]:
    """Unbiased covariance between centered rows."""
    return gram(rows) / (rows.shape[1] - 1)


def newton_inverse_root(sigma: Float[Tensor, "v v"], iterations: int) -> Float[Tensor, "v v"]:
    """Newton's approximation of sigma^(-1/2) (docs/methods.md#newton-iterations).

    With S = sigma / tr(sigma): P_0 = I, P_(k+1) = 1.5 P_k - 0.5 P_k^3 S; the result is P_T / sqrt(tr(sigma)). It
    converges and then diverges: at condition number 1e4 float32 holds to 5 iterations and NaN comes soon after 9
    (measured). Singular matrices are no harder than others, and zeros count as a trace of 1e-20.
    """
    trace = sigma.diagonal().sum().clamp_min(1e-20)
    scaled = sigma / trace
    p = applied(_FourNewtonSteps, scaled) if iterations == 4 else _newton(scaled, iterations)
    return p / trace.sqrt()


def iternorm(z: Float[Tensor, "n d"], iterations: int, between: Between) -> Float[Tensor, "n d"]:
    """IterNorm: `z` centered and multiplied by Newton's inverse root of its covariance (docs/methods.md#intl).

    That root is a polynomial p of the covariance, and p(X X^T) X = X p(X^T X): the smaller side is taken.
    """
    with torch.autocast(z.device.type, enabled=False):
        rows = observed(z, between)
        variables, observations = rows.shape
        if variables <= observations:
            whitened = newton_inverse_root(covariance(rows), iterations) @ rows
        else:
            whitened = rows @ newton_inverse_root(gram(rows.T) / (observations - 1), iterations)
    return whitened if between == "samples" else whitened.T


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


def _newton(scaled: Float[Tensor, "v v"], iterations: int) -> Float[Tensor, "v v"]:
    p = torch.eye(len(scaled), dtype=scaled.dtype, device=scaled.device)
    for _ in range(iterations):
        p = torch.addmm(p, p @ p, p @ scaled, beta=1.5, alpha=-0.5)
    return p


class _FourNewtonSteps(torch.autograd.Function):
    """P_4 of a symmetric S in 7 matrix products, its derivative in 11 (autograd takes 12 and 19).

    Two steps from the identity are g(Z) = 1.5 M - 0.5 M^2 H with M = 1.5 I - 0.5 Z and H = Z M, where M^2 = 1.5 M -
    0.5 H, so P_2 = g(S) and P_4 = P_2 g(S P_2^2). H is formed from Z, never from M: eigenvalues of Z are of the order
    1 / variables, and against the identity in M float32 would round their last digits away. The derivative of a
    polynomial of a symmetric matrix is self-adjoint: the gradient is the derivative in the direction of the symmetrized
    incoming gradient (docs/methods.md#newton-iterations).
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor) -> Tensor:
        p2, h, m2 = _two_steps(s)
        square = p2 @ p2
        z = s @ square
        g, k, n2 = _two_steps(z)
        ctx.save_for_backward(s, p2, h, m2, square, z, g, k, n2)
        return p2 @ g

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        s, p2, h, m2, square, z, g, k, n2 = ctx.saved_tensors
        direction = (gradients[0] + gradients[0].T) / 2
        dp2 = _two_steps_derivative(direction, s, h, m2)
        half = p2 @ dp2
        dg = _two_steps_derivative(torch.addmm(direction @ square, s, half + half.T), z, k, n2)
        return torch.addmm(dp2 @ g, p2, dg)


def _two_steps(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(g(Z), H, M^2)."""
    m = -0.5 * z
    m.diagonal().add_(1.5)
    h = torch.addmm(z, z, z, beta=1.5, alpha=-0.5)
    m2 = (1.5 * m).sub_(h, alpha=0.5)
    return torch.addmm(m, m2, h, beta=1.5, alpha=-0.5), h, m2


def _two_steps_derivative(dz: Tensor, z: Tensor, h: Tensor, m2: Tensor) -> Tensor:
    """The derivative of g in the direction dZ."""
    half = z @ dz
    dh = (1.5 * dz).sub_(half, alpha=0.5).sub_(half.T, alpha=0.5)
    direct = -0.75 * dz
    dm2 = direct.sub(dh, alpha=0.5)
    return direct.addmm_(dm2, h, alpha=-0.5).addmm_(m2, dh, alpha=-0.5)
