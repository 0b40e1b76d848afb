"""BN: channels standardized over sub-batches, then the distance between views; collapses dimensionally.

L = mean over pairs of views of l(Y_a, Y_b), Y the standardized channels of a sub-batch and
l(A, B) = 2 - 2/n sum_i cos(a_i, b_i).

The method called BN in CW-RGP's comparison, arXiv 2210.03586. Source: docs/methods.md#bn.
"""

import torch
from pydantic import Field
from torch import Tensor

from decorssl.batch_whitening import Parts, SubBatches, alignment
from decorssl.methods import Context, Outputs, every_view, no_modules
from decorssl.pairs import check_parts, largest_part, permutations


class Config(SubBatches):
    """BN's settings; vanilla BN over the whole batch, without sub-batches and norms, is `dbn` with `layer: bn`."""

    w_size: int = Field(128, ge=2, description="samples standardized together")
    eps: float = Field(0.0, ge=0, lt=1, description="added to variances")


routes = every_view
modules = no_modules
PER_PROCESS = True


def check(config: Config, batch: int, dim: int) -> None:
    """Sub-batches fill the local batch."""
    check_parts(batch, config.w_size)


def fitted(config: Config, batch: int, dim: int) -> tuple[Config, int]:
    """The largest sub-batches of a batch, up to `w_size`."""
    return config.model_copy(update={"w_size": max(largest_part(batch, config.w_size), 2)}), dim


def standardized(parts: Parts, eps: float) -> Parts:
    """Channels of mean 0 and (biased) variance 1 over a sub-batch; a constant channel becomes 0."""
    centered = parts - parts.mean(-2, keepdim=True)
    variances = centered.square().mean(-2, keepdim=True) + eps
    return centered * variances.clamp_min(torch.finfo(parts.dtype).tiny).rsqrt()


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Alignment of standardized views."""
    config: Config = context.config
    draw = permutations(context.generator)
    return {"loss": alignment(outputs.student, config, draw, lambda parts: standardized(parts, config.eps))}
