"""INTL: IterNorm with trace loss.

Weng et al., *Modulate Your Spectrum in Self-Supervised Learning*, arXiv 2305.16789. Source: docs/methods.md#intl
(ran the authors' code).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from decorssl.pairs import normalized_mse
from decorssl.whiten import Between, compared_grams, iternorm, newton_inverse_root, observed
from transferbench.settings import Settings


class Config(Settings):
    """INTL's settings, with the published defaults."""

    iterations: int = Field(4, ge=1, le=7, description="Newton steps of IterNorm; float32 diverges beyond 7")
    covariance_between: Between = Field(
        "samples", description="what is whitened: samples over channels (few samples), or channels over samples"
    )
    trade_off: float | None = Field(
        None, ge=0, description="weight of the trace loss; none: 0.01 (log2(size) - 3) of the global batch or embedding"
    )


Terms = tuple[Tensor, Tensor, Tensor]
"""The mean alignment of views with an anchor, the mean trace loss of the views, and the anchor's."""

routes = every_view
modules = no_modules
check = any_batch


def trace_loss(whitened: Float[Tensor, "n d"], between: Between) -> Float[Tensor, ""]:
    """Sum over whitened variables of (variance - 1)^2."""
    rows = observed(whitened, between)
    variances = rows.square().sum(1) / (rows.shape[1] - 1)
    return (variances - 1).square().sum()


def trade_off(config: Config, batch: int, dim: int) -> float:
    """The weight of the trace loss for a *global* batch and an embedding size."""
    if config.trade_off is not None:
        return config.trade_off
    return 0.01 * (math.log2(batch if config.covariance_between == "samples" else dim) - 3)


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of all views with the first plus trace losses, over the global batch."""
    config: Config = context.config
    anchor, *views = [context.gather(z) for z in outputs.student]
    alignment, others, own = terms(views, anchor, config)
    trace = others + own
    return {"loss": alignment + trade_off(config, *anchor.shape) * trace, "alignment": alignment, "trace": trace}


def terms(views: Sequence[Float[Tensor, "n d"]], anchor: Float[Tensor, "n d"], config: Config) -> Terms:
    """What whitened views and a whitened anchor contribute, in float32 or better."""
    n, d = anchor.shape
    with torch.autocast(anchor.device.type, enabled=False):
        fused = config.covariance_between == "samples" and n <= d
        return (_from_gram if fused else _from_whitened)([anchor, *views], config)


def _from_whitened(views: list[Tensor], config: Config) -> Terms:
    """From whitened embeddings, as the formulas read; the anchor comes first."""
    first, *others = [iternorm(z, config.iterations, config.covariance_between) for z in views]
    alignments = torch.stack([normalized_mse(z, first) for z in others])
    traces = torch.stack([trace_loss(z, config.covariance_between) for z in others])
    return alignments.mean(), traces.mean(), trace_loss(first, config.covariance_between)


def _from_gram(views: list[Tensor], config: Config) -> Terms:
    """The same for a covariance between samples, from inner products alone: no whitened embedding is ever formed.

    With Z = W X, norms and variances of whitened rows are diag(W X X^T W) and inner products between two views are
    diag(W_1 X_1 X_2^T W_2) (docs/methods.md#smaller-side).
    """
    observations = views[0].shape[1] - 1
    grams, crossed = compared_grams(views)
    first, *others = [newton_inverse_root(g / observations, config.iterations) for g in grams]
    own, *squares = [_Squares.apply(w, g) for w, g in zip([first, *others], grams, strict=True)]
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
