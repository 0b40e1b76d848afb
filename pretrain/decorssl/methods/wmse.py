"""W-MSE: batch whitening by Cholesky factors.

Ermolov et al., *Whitening for Self-Supervised Representation Learning*; spec 1.3 and 1.4 (`wmse`, axis 1, no groups).
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.methods import Context, Outputs, every_view, no_modules
from decorssl.pairs import Draw, check_parts, mean_over_pairs, permutations, sub_batches
from decorssl.spectral import Factor, whiten
from transferbench.errors import UserError
from transferbench.settings import Settings


class Config(Settings):
    """W-MSE's settings. `factor` makes it ZCA whitening, or PCA whitening, which collapses (spec 1.2)."""

    w_size: int = Field(128, ge=2, description="samples whitened together; twice the embedding or more")
    w_iter: int = Field(1, ge=1, description="how often a batch is cut into sub-batches anew")
    eps: float = Field(0.0, ge=0, lt=1, description="share of the identity mixed into each covariance")
    factor: Factor = "cholesky"


routes = every_view
modules = no_modules


def check(config: Config, batch: int, dim: int) -> None:
    """Sub-batches fill the local batch and are larger than the embedding, or covariances would be singular."""
    check_parts(batch, config.w_size)
    if config.w_size <= dim and not config.eps:
        raise UserError(
            f"settings.w_size={config.w_size} samples cannot whiten an embedding of {dim} channels: take more samples "
            f"than channels, better {2 * dim}; lower projector.output, or set settings.eps."
        )


def whitened(parts: Float[Tensor, "s v w d"], config: Config) -> Float[Tensor, "s v w d"]:
    """Channels centred over a sub-batch's samples and whitened (spec 1.3 "Whitening2d", axis 1, [code])."""
    rows = (parts - parts.mean(-2, keepdim=True)).mT
    return whiten(rows, parts.shape[-2] - 1, config.factor, config.eps).mT


def alignment(views: tuple[Float[Tensor, "n d"], ...], config: Config, draw: Draw) -> Float[Tensor, ""]:
    """The mean normalised MSE of whitened views; whitening is local to each process (spec 1.4, [code])."""
    terms = [
        mean_over_pairs(whitened(sub_batches(views, config.w_size, draw), config).unbind(1))
        for _ in range(config.w_iter)
    ]
    return torch.stack(terms).mean()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of whitened views."""
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        return {"loss": alignment(outputs.student, context.config, permutations(context.generator))}
