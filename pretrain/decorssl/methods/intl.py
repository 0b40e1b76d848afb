"""INTL: IterNorm with trace loss.

L = mean over i > 0 of l(Y_i, Y_0) + beta (TL(Y_i) + TL(Y_0)), with Y = P_T(S) X / sqrt(tr Sigma) the whitened views,
l(A, B) = 2 - 2/n sum_i cos(a_i, b_i), TL(Y) = sum over whitened variables of (variance - 1)^2 and
beta = 0.01 (log2 size - 3).

Weng et al., *Modulate Your Spectrum in Self-Supervised Learning*, arXiv 2305.16789. Source: docs/methods.md#intl
(ran the authors' code).
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.fused import intl as fused
from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from decorssl.pairs import normalized_mse
from decorssl.whiten import Between, iternorm, newton_inverse_root, observed
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
    """What whitened views and a whitened anchor contribute, in float32 or better.

    `fused.terms` is `plain_terms`, sooner: tests/reference/test_fused.py holds it to that in float64.
    """
    n, d = anchor.shape
    with torch.autocast(anchor.device.type, enabled=False):
        if config.covariance_between == "samples" and n <= d:
            return fused.terms([anchor, *views], partial(newton_inverse_root, iterations=config.iterations))
        return plain_terms([anchor, *views], config)


def plain_terms(views: Sequence[Float[Tensor, "n d"]], config: Config) -> Terms:
    """From whitened embeddings, as the formulas read; the anchor comes first."""
    first, *others = [iternorm(z, config.iterations, config.covariance_between) for z in views]
    alignments = torch.stack([normalized_mse(z, first) for z in others])
    traces = torch.stack([trace_loss(z, config.covariance_between) for z in others])
    return alignments.mean(), traces.mean(), trace_loss(first, config.covariance_between)
