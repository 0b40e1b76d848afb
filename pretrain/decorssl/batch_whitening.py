"""Distance between views after transforming their channels over sub-batches: W-MSE and its relatives.

Source: docs/methods.md#w-mse.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.pairs import Draw, check_parts, largest_part, mean_over_pairs, sub_batches
from decorssl.spectral import Factor, whiten
from transferbench.errors import UserError
from transferbench.settings import Settings

Parts = Float[Tensor, "s v w d"]
Views = tuple[Float[Tensor, "n d"], ...]


class SubBatches(Settings):
    """The settings of a method that transforms sub-batches."""

    w_size: int = Field(128, ge=2, description="samples whitened together; twice the embedding or more")
    w_iter: int = Field(1, ge=1, description="how many times each batch is randomly split into sub-batches")
    eps: float = Field(0.0, ge=0, lt=1, description="weight of the identity matrix mixed into each covariance")
    normalised: bool = Field(
        True, description="compare normalized embeddings; false: mean squared error of embeddings as they are"
    )


def check(config: SubBatches, batch: int, dim: int) -> None:
    """Sub-batches fill the local batch and are larger than the embedding, or covariances would be singular."""
    check_parts(batch, config.w_size)
    if config.w_size <= dim and not config.eps:
        raise UserError(
            f"settings.w_size={config.w_size} samples cannot whiten an embedding of {dim} channels: use more samples "
            f"than channels (better {2 * dim}), lower projector.output, or (except for PCA) set settings.eps."
        )


def fitted(config: SubBatches, batch: int, dim: int) -> tuple[SubBatches, int]:
    """The largest sub-batches of a batch, up to `w_size`, and no more channels than half of their samples suits."""
    size = max(largest_part(batch, config.w_size), 2)
    channels = dim if dim < size or config.eps else max(size // 2, 1)
    return config.model_copy(update={"w_size": size}), channels


def whitened(parts: Parts, factor: Factor, eps: float) -> Parts:
    """Channels centered over a sub-batch's samples and whitened (`Whitening2d` with axis 1 in CW-RGP's code)."""
    rows = (parts - parts.mean(-2, keepdim=True)).mT
    return whiten(rows, parts.shape[-2] - 1, factor, eps).mT


def alignment(views: Views, config: SubBatches, draw: Draw, transform: Callable[[Parts], Parts]) -> Float[Tensor, ""]:
    """The mean (normalized) MSE of transformed views, local to each process as published; float32 or better."""
    with torch.autocast(views[0].device.type, enabled=False):
        cuts = [sub_batches(views, config.w_size, draw) for _ in range(config.w_iter)]
        distances = [mean_over_pairs(transform(parts).transpose(0, 1), config.normalised) for parts in cuts]
        return torch.stack(distances).mean()


def whitened_alignment(views: Views, config: SubBatches, draw: Draw, factor: Factor) -> Float[Tensor, ""]:
    """`alignment` of whitened views."""
    return alignment(views, config, draw, lambda parts: whitened(parts, factor, config.eps))
