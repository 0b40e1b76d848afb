"""SimCLR: NT-Xent, each embedding with its other view against the rest of the batch.

L = - mean over the 2 n rows i of log exp(<z_i, z_p(i)>/tau) / sum_(j != i) exp(<z_i, z_j>/tau), rows of length 1, p(i)
the other view of i.

Chen et al., *A Simple Framework for Contrastive Learning of Visual Representations*, arXiv 2002.05709. Source:
docs/methods.md#simclr. The batch normalization that CW-RGP's code has after the head is
`projector: {output_norm: affine, statistics: views}`.
"""

from itertools import combinations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from transferbench.settings import Settings


class Config(Settings):
    """SimCLR's settings."""

    temperature: float = Field(0.5, gt=0, description="softmax temperature")


routes = every_view
modules = no_modules
check = any_batch


def nt_xent(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], temperature: float) -> Float[Tensor, ""]:
    """Cross-entropy of 2 n rows of length 1, each to pick its partner among the 2 n - 1 others."""
    rows = torch.cat([a, b])
    logits = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
    return cross_entropy(logits, torch.arange(len(rows), device=rows.device).roll(len(a)))


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """NT-Xent over the global batch, averaged over pairs of views."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        views = [normalize(context.gather(z), dim=1) for z in outputs.student]
        return {"loss": torch.stack([nt_xent(a, b, config.temperature) for a, b in combinations(views, 2)]).mean()}
