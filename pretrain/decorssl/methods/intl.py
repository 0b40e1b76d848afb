"""INTL: IterNorm with trace loss.

*Modulate Your Spectrum in Self-Supervised Learning*, arXiv 2305.16789; spec 1.1.
"""

import math

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from decorssl.pairs import normalised_mse
from decorssl.whiten import Between, gram, iternorm, newton_inverse_root, observed
from transferbench.settings import Settings


class Config(Settings):
    """INTL's settings, with the published defaults."""

    iterations: int = Field(4, ge=1, le=7, description="Newton steps of IterNorm; float32 diverges beyond 7")
    covariance_between: Between = "samples"
    trade_off: float | None = Field(
        None, ge=0, description="weight of the trace loss; none: 0.01 (log2(size) - 3) of the global batch or embedding"
    )


routes = every_view
modules = no_modules
check = any_batch


def trace_loss(whitened: Float[Tensor, "n d"], between: Between) -> Float[Tensor, ""]:
    """Sum over whitened variables of (variance - 1)^2 (spec 1.1 "Trace loss", [code])."""
    rows = observed(whitened, between)
    variances = rows.square().sum(1) / (rows.shape[1] - 1)
    return (variances - 1).square().sum()


def trade_off(config: Config, batch: int, dim: int) -> float:
    """The weight of the trace loss for a *global* batch and an embedding size (spec 1.1 "Trade-off", [code])."""
    if config.trade_off is not None:
        return config.trade_off
    return 0.01 * (math.log2(batch if config.covariance_between == "samples" else dim) - 3)


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of all views with the first plus trace losses, over the global batch (spec 1.1 "INTL loss", [code])."""
    config: Config = context.config
    views = [context.gather(z) for z in outputs.student]
    n, d = views[0].shape
    with torch.autocast(views[0].device.type, enabled=False):
        fused = config.covariance_between == "samples" and n <= d
        terms = _from_gram(views, config) if fused else _from_whitened(views, config)
    alignment, trace = terms
    return {"loss": alignment + trade_off(config, n, d) * trace, "alignment": alignment, "trace": trace}


def _from_whitened(views: list[Tensor], config: Config) -> tuple[Tensor, Tensor]:
    """(alignment, trace), from whitened embeddings as the formulas read."""
    whitened = [iternorm(z, config.iterations, config.covariance_between) for z in views]
    traces = torch.stack([trace_loss(z, config.covariance_between) for z in whitened])
    alignments = torch.stack([normalised_mse(z, whitened[0]) for z in whitened[1:]])
    return alignments.mean(), traces[1:].mean() + traces[0]


def _from_gram(views: list[Tensor], config: Config) -> tuple[Tensor, Tensor]:
    """The same for a covariance between samples, from inner products alone: no whitened embedding is ever formed.

    With Z = W X, norms and variances of whitened rows are diag(W X X^T W) and inner products between two views are
    diag(W_1 X_1 X_2^T W_2) (spec, performance 2a, identity 3).
    """
    observations = views[0].shape[1] - 1
    rows = [observed(z, "samples") for z in views]
    grams = [gram(x) for x in rows]
    roots = [newton_inverse_root(g / observations, config.iterations) for g in grams]
    squares = [((w @ g) * w).sum(1) for w, g in zip(roots, grams, strict=True)]
    traces = torch.stack([(square / observations - 1).square().sum() for square in squares])
    inner = [((roots[v] @ (rows[v] @ rows[0].T)) * roots[0]).sum(1) for v in range(1, len(views))]
    lengths = [(square * squares[0]).clamp_min(1e-24).rsqrt() for square in squares[1:]]
    cosines = torch.stack([x * length for x, length in zip(inner, lengths, strict=True)])
    return 2 - 2 * cosines.mean(), traces[1:].mean() + traces[0]
