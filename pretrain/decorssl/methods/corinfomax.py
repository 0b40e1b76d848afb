"""CorInfoMax: two views near each other, and a running covariance of the embeddings with the largest determinant.

L = weight 1/(n d) |A - B|^2 - 1/d sum over views of log det(R + eps I), rows of A and B of length 1, with the estimates
mu = l_mu mu' + (1 - l_mu) mean z and R = l_R R' + (1 - l_R) 1/n sum_i (z_i - mu) (z_i - mu)^T; mu' and R' are those of
the step before, without gradient.

Ozsoy et al., *Self-Supervised Learning with an Information Maximization Criterion*, arXiv 2209.07999. Source:
docs/methods.md#corinfomax (ran the authors' code).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from decorssl.fused import corinfomax as fused
from decorssl.fused.units import unit_vectors
from decorssl.methods import Context, Outputs, any_batch, two_views
from transferbench.settings import Settings


class Config(Settings):
    """CorInfoMax's settings, those of CIFAR-10."""

    invariance_weight: float = Field(250.0, ge=0, description="weight of the mean squared difference of views")
    covariance_weight: float = Field(1.0, ge=0, description="weight of the log-determinants")
    covariance_of: Literal["view", "views"] = Field(
        "view", description="an estimate for each view, or one for both together (the authors' ImageNet code)"
    )
    initial: float = Field(1.0, gt=0, description="the covariance before the first step is this times the identity")
    covariance_memory: float = Field(0.01, ge=0, le=1, description="share of the past in the covariance, l_R")
    mean_memory: float = Field(0.01, ge=0, le=1, description="share of the past in the mean, l_mu")
    eps: float = Field(1e-8, ge=1e-12, description="added to the diagonal of covariances")


routes = two_views
check = any_batch


class Estimates(nn.Module):
    """Running means and covariances of each view, or of both together, in float64."""

    means: Float[Tensor, "k d"]
    covariances: Float[Tensor, "k d d"]

    def __init__(self, dim: int, count: int, initial: float) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(count, dim, dtype=torch.float64))
        self.register_buffer("covariances", initial * torch.eye(dim, dtype=torch.float64).repeat(count, 1, 1))


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """The estimates."""
    return nn.ModuleDict({"estimates": Estimates(dim, 2 if config.covariance_of == "view" else 1, config.initial)})


def parts(units: Sequence[Float[Tensor, "n d"]], config: Config) -> list[Float[Tensor, "m d"]]:
    """The rows of which there is an estimate each: by view, or of both views."""
    return list(units) if config.covariance_of == "view" else [torch.cat(list(units))]


def updated(
    z: Float[Tensor, "n d"], mean: Float[Tensor, "d"], covariance: Float[Tensor, "d d"], config: Config
) -> tuple[Float[Tensor, "d"], Float[Tensor, "d d"]]:
    """The (mean, covariance) that follow on those given, in float64.

    `fused.corinfomax` has the same sooner, with the log-determinant of the covariance: tests/reference/test_fused.py
    holds it to this.
    """
    following = config.mean_memory * mean + (1 - config.mean_memory) * z.mean(0, dtype=torch.float64)
    rows = z - following
    seen = rows.T @ rows / len(z)
    return following, config.covariance_memory * covariance + (1 - config.covariance_memory) * seen


def memories(config: Config) -> tuple[float, float]:
    """Shares of the past in the mean and in the covariance."""
    return config.mean_memory, config.covariance_memory


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """The distance of views less the log-determinants of the estimates that the global batch leads to."""
    config: Config = context.config
    kept = context.modules["estimates"]
    assert isinstance(kept, Estimates)
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        units = [unit_vectors(context.gather(z)) for z in outputs.student]
        invariance = mse_loss(units[0], units[1])
        rows = zip(parts(units, config), kept.means, kept.covariances, strict=True)
        terms = [fused.log_determinant(*each, memories(config), config.eps) for each in rows]
        spread = torch.stack(terms).sum() / units[0].shape[1]
    total = config.invariance_weight * invariance - config.covariance_weight * spread
    return {"loss": total, "invariance": invariance, "log_determinant": spread}


def after_step(outputs: Outputs, context: Context) -> None:
    """The estimates that the loss was of are kept."""
    kept = context.modules["estimates"]
    assert isinstance(kept, Estimates)
    units = [unit_vectors(context.gather(z)) for z in outputs.student]
    for z, mean, covariance in zip(parts(units, context.config), kept.means, kept.covariances, strict=True):
        _, *following = fused.updated(z, mean, covariance, memories(context.config))
        mean.copy_(following[0])
        covariance.copy_(following[1])
