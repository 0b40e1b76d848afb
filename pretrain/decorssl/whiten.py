"""Whitening of embeddings: centering, covariance, IterNorm. Float32 or better, whatever the autocast."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from decorssl.fused.grams import gram
from decorssl.fused.newton import four_steps

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
    p = four_steps(scaled) if iterations == 4 else newton_steps(scaled, iterations)
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


def newton_steps(scaled: Float[Tensor, "v v"], iterations: int) -> Float[Tensor, "v v"]:
    """P_T of the formula above."""
    p = torch.eye(len(scaled), dtype=scaled.dtype, device=scaled.device)
    for _ in range(iterations):
        p = torch.addmm(p, p @ p, p @ scaled, beta=1.5, alpha=-0.5)
    return p
