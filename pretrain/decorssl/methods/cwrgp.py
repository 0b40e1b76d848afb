"""CW-RGP: channel whitening with random group partition.

L = mean over cuts and pairs of views of l(Y_a, Y_b) with l(A, B) = 2 - 2/n sum_i cos(a_i, b_i). Of each random group of
channels X_k (w samples by d/g channels, centered) Y has S_k^(-1/2) X_k, S_k = X_k X_k^T / (d/g - 1).

Weng et al., *An Investigation into Whitening Loss for Self-supervised Learning*, arXiv 2210.03586. Source:
docs/methods.md#cw-rgp (ran the authors' code).
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.fused.centered import centered_samples
from decorssl.methods import Context, Outputs, every_view, no_modules
from decorssl.pairs import Draw, check_parts, mean_over_pairs, permutations, sub_batches
from decorssl.spectral import inverse, reordered, whiten
from transferbench.errors import UserError
from transferbench.settings import Settings


class Config(Settings):
    """CW-RGP's settings; sub-batch and group numbers are published for each data set."""

    w_size: int = Field(64, ge=2, description="samples whitened together")
    groups: int = Field(4, ge=1, description="groups into which the channels are split at random")
    w_iter: int = Field(1, ge=1, description="how many times each batch is randomly split into sub-batches")
    eps: float = Field(0.0, ge=0, lt=1, description="weight of the identity matrix mixed into each covariance")
    normalised: bool = Field(
        True, description="compare normalized embeddings; false: mean squared error of embeddings as they are"
    )
    covariance_weight: float = Field(
        0.0, ge=0, description="weight of the optional off-diagonal term (ImageNet: 0.005, 0.01)"
    )
    covariance_stop_epoch: int = Field(50, ge=0, description="the off-diagonal term is dropped from this epoch on")


routes = every_view
modules = no_modules
PER_PROCESS = True


def _is_whole(config: Config, dim: int) -> bool:
    """Whether the groups share the channels evenly, and each has as many as full rank takes (measured)."""
    return dim % config.groups == 0 and dim // config.groups >= config.w_size + (config.groups == 1)


def check(config: Config, batch: int, dim: int) -> None:
    """Sub-batches fill the local batch, groups fill the embedding, and covariances have full rank."""
    check_parts(batch, config.w_size)
    if not _is_whole(config, dim):
        raise UserError(
            f"An embedding of {dim} channels in settings.groups={config.groups} cannot whiten settings.w_size="
            f"{config.w_size} samples: each group needs a whole number of channels, at least w_size of them "
            "(one more when there is one group). Raise projector.output or lower groups or w_size."
        )


def fitted(config: Config, batch: int, dim: int) -> tuple[Config, int]:
    """The largest sub-batches, then the most groups, up to these; more channels where two samples need them."""
    sizes = [size for size in range(min(batch, config.w_size), 1, -1) if batch % size == 0] or [2]
    tried = (
        config.model_copy(update={"w_size": size, "groups": groups})
        for size in sizes
        for groups in range(config.groups, 0, -1)
    )
    fitting = next((each for each in tried if _is_whole(each, dim)), None)
    return (fitting, dim) if fitting else (config.model_copy(update={"w_size": sizes[-1], "groups": 1}), sizes[-1] + 1)


def whitened(parts: Float[Tensor, "s v w d"], config: Config, draw: Draw) -> Float[Tensor, "s v w d"]:
    """Centered samples whitened over each random group of their channels."""
    s, v, w, d = parts.shape
    order = torch.cat([draw(d) + d * i for i in range(s * v)])
    rows = reordered(parts.mT.reshape(-1, w), order).view(s, v, config.groups, -1, w).mT
    out = whiten(rows, d // config.groups - 1, "zca", config.eps).mT.reshape(-1, w)
    return reordered(out, inverse(order)).view(s, v, d, w).mT


def off_diagonal(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Sum of squared covariances between different samples over n, in the authors' ImageNet code alone."""
    rows = z - z.mean(1, keepdim=True)
    sigma = rows @ rows.T / (z.shape[1] - 1)
    return (sigma.square().sum() - sigma.diagonal().square().sum()) / len(z)


def alignment(views: tuple[Float[Tensor, "n d"], ...], config: Config, draw: Draw) -> Float[Tensor, ""]:
    """The mean (normalized) MSE of whitened views, local to each process as published.

    Samples are centered over all their channels before these are grouped.
    """
    centered = centered_samples(views)
    terms = []
    for _ in range(config.w_iter):
        z = whitened(sub_batches(centered, config.w_size, draw), config, draw)
        terms.append(mean_over_pairs(z.transpose(0, 1), config.normalised))
    return torch.stack(terms).mean()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment, and in the first epochs the optional off-diagonal term summed over views."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        aligned = alignment(outputs.student, config, permutations(context.generator))
        if not config.covariance_weight or context.epoch >= config.covariance_stop_epoch:
            return {"loss": aligned, "alignment": aligned}
        spread = torch.stack([off_diagonal(z.float()) for z in outputs.student]).sum()
    return {"loss": aligned + config.covariance_weight * spread, "alignment": aligned, "covariance": spread}
