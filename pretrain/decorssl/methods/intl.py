"""INTL: IterNorm with trace loss.

*Modulate Your Spectrum in Self-Supervised Learning*, arXiv 2305.16789; spec 1.1.
"""

import math

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from decorssl.methods import Context, Outputs
from decorssl.whiten import Between, iternorm, observed
from transferbench.settings import Settings


class Config(Settings):
    """INTL's settings, with the published defaults."""

    iterations: int = Field(4, ge=1, le=7, description="Newton steps of IterNorm; float32 diverges beyond 7")
    covariance_between: Between = "samples"
    trade_off: float | None = Field(
        None, ge=0, description="weight of the trace loss; none: 0.01 (log2(size) - 3) of the global batch or embedding"
    )


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """None: INTL is a function of the embeddings alone."""
    return nn.ModuleDict()


def normalised_mse(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """2 - 2 mean cosine of paired rows (spec, "Notation")."""
    return 2 - 2 * (normalize(a, dim=1) * normalize(b, dim=1)).sum(1).mean()


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
    whitened = [iternorm(z, config.iterations, config.covariance_between) for z in views]
    traces = [trace_loss(z, config.covariance_between) for z in whitened]
    others = len(views) - 1
    alignment = sum((normalised_mse(z, whitened[0]) for z in whitened[1:]), start=views[0].new_zeros(())) / others
    trace = sum(traces[1:], start=views[0].new_zeros(())) / others + traces[0]
    weight = trade_off(config, *views[0].shape)
    return {"loss": alignment + weight * trace, "alignment": alignment, "trace": trace}
