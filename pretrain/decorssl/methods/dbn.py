"""DBN and Shuffled-DBN: decorrelated batch normalization of both views, nothing else.

L = 1/n sum_i |y_i - y'_i|^2 with Y = X S^(-1/2) group by group of channels, S = X^T X / n, X centered over the batch.

Hua et al., *On Feature Decorrelation in Self-Supervised Learning*, arXiv 2105.00470. Source:
docs/methods.md#dbn (ran the authors' code).
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from decorssl.methods import Context, Outputs, every_view, no_modules
from decorssl.pairs import Draw, permutations
from decorssl.spectral import inverse, reordered, whiten
from transferbench.errors import UserError
from transferbench.settings import Settings


class Config(Settings):
    """The layer that ends the projector, as the paper compares them."""

    layer: Literal["dbn", "bn", "none"] = Field("dbn", description="none collapses to a point, bn to few dimensions")
    shuffled: bool = Field(False, description="shuffle the channels into random groups, for each view and step")
    groups: int | None = Field(None, ge=1, description="none: ceil(2 channels / samples), groups of half the batch")


routes = every_view
modules = no_modules
PER_PROCESS = True


def groups(config: Config, batch: int, dim: int) -> int:
    """How many groups the channels are cut into."""
    return config.groups or math.ceil(2 * dim / batch)


def check(config: Config, batch: int, dim: int) -> None:
    """Groups fill the embedding and are smaller than the local batch."""
    count = groups(config, batch, dim)
    if config.layer == "dbn" and (dim % count or dim // count >= batch):
        raise UserError(
            f"An embedding of {dim} channels in {count} groups cannot be whitened over {batch} samples per process: "
            "groups must be of equal size, smaller than the batch. Set settings.groups, projector.output or "
            "batch_size."
        )


def fitted(config: Config, batch: int, dim: int) -> tuple[Config, int]:
    """As many groups as it takes, the fewest from the usual number on; all channels keep their place."""
    usual = groups(config, batch, dim)
    if config.layer != "dbn" or (dim % usual == 0 and dim // usual < batch):
        return config, dim
    count = next(count for count in range(usual, dim + 1) if dim % count == 0 and dim // count < batch)
    return config.model_copy(update={"groups": count}), dim


def normalized(z: Float[Tensor, "n d"], config: Config, draw: Draw) -> Float[Tensor, "n d"]:
    """One view through the layer: batch statistics, divided by n (biased), no eps."""
    rows = z.to(torch.promote_types(z.dtype, torch.float32))
    if config.layer == "none":
        return rows
    rows = rows - rows.mean(0)
    n, d = rows.shape
    if config.layer == "bn":
        return rows * rows.square().mean(0).clamp_min(torch.finfo(rows.dtype).tiny).rsqrt()
    order = draw(d) if config.shuffled else torch.arange(d, device=z.device)
    parts = reordered(rows.T, order).unflatten(0, (groups(config, n, d), -1))
    return reordered(whiten(parts, n).flatten(0, 1), inverse(order)).T


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Mean squared distance of the normalized views; local to each process as published."""
    draw = permutations(context.generator)
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        first, *others = [normalized(z, context.config, draw) for z in outputs.student]
        return {"loss": torch.stack([(first - z).square().sum(1).mean() for z in others]).mean()}
