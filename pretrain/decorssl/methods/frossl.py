"""FroSSL: views aligned with their mean, and the covariance of each with the smallest Frobenius norm.

L = w V/n sum_v |U_v - mean U|^2 + sum_v log(|U_v^T U_v|_F^2 / tr(U_v^T U_v)^2), with U_v the embeddings of a view, each
channel scaled to length 1 over the batch.

Skean et al., *FroSSL: Frobenius Norm Minimization for Efficient Multiview Self-Supervised Learning*, arXiv 2310.02903.
Source: docs/methods.md#frossl (ran the authors' code and lightly).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from decorssl.fused.grams import gram_squares
from decorssl.fused.units import unit_vectors
from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from transferbench.settings import Settings


class Config(Settings):
    """FroSSL's settings."""

    invariance_weight: float = Field(1.0, ge=0, description="weight of the invariance term (STL-10: 1.4, ImageNet: 2)")
    centered: bool = Field(
        False, description="center channels over the batch first, as the authors' older function for two views does"
    )


routes = every_view
modules = no_modules
check = any_batch
PER_PROCESS = True


def invariance(views: Sequence[Float[Tensor, "n d"]]) -> Float[Tensor, ""]:
    """V/n sum_v |U_v - mean U|^2; the mean needs no gradient, since differences from it sum to zero."""
    middle = torch.stack([u.detach() for u in views]).mean(0)
    squares = torch.stack([mse_loss(u, middle, reduction="sum") for u in views])
    return len(views) / len(middle) * squares.sum()


def entropy(u: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """-log(|K|_F^2 / tr(K)^2) of K = U^T U: log d where all eigenvalues are equal, 0 where one is not 0.

    The trace is the number of channels that are not 0, so it has no gradient.
    """
    trace = u.detach().square().sum()
    return 2 * trace.log() - gram_squares(u).log()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Invariance, weighted, less the sum of the views' entropies, local to each process as published."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        views = [unit_vectors(z - z.mean(0) if config.centered else z, dim=-2) for z in outputs.student]
        apart, spread = invariance(views), torch.stack([entropy(u) for u in views]).sum()
    return {"loss": config.invariance_weight * apart - spread, "invariance": apart, "entropy": spread}
