"""MMCR: centroids of an image's views that span as much as they can, measured by their nuclear norm.

L = w/n sum_i |Z_i|_* - |C|_*, with |.|_* the sum of singular values, Z_i the views of image i, rows of length 1, and C
the n x d matrix of their means.

Yerxa et al., *Learning Efficient Coding of Natural Images with Maximum Manifold Capacity Representations*, arXiv
2303.03307. Source: docs/methods.md#mmcr (ran the authors' code).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from decorssl.fused import root_traces as fused
from decorssl.methods import Context, Outputs, any_batch, every_view, no_modules
from transferbench.settings import Settings


class Config(Settings):
    """MMCR's settings."""

    local_weight: float = Field(
        0.0, ge=0, description="weight of the mean nuclear norm of an image's views, which pulls them together"
    )
    mean: bool = Field(
        False, description="divide the loss by the global batch, for an optimizer that minds its scale, as SGD does"
    )


routes = every_view
modules = no_modules
check = any_batch


def nuclear_norms(matrices: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch"]:
    """The sum of singular values of each matrix, as the paper writes it.

    `fused.root_traces.nuclear_norms` is the same, sooner: tests/reference/test_fused.py holds it to this in float64.
    """
    return torch.linalg.svdvals(matrices).sum(-1)


def mean(views: Sequence[Float[Tensor, "n d"]]) -> Float[Tensor, "n d"]:
    """Each image's mean over its views."""
    first, *others = views
    return sum(others, first) / len(views)


def local_norm(views: Sequence[Float[Tensor, "n d"]]) -> Float[Tensor, ""]:
    """The nuclear norm of an image's V views, rows of length 1, averaged over images: from V^0.5, all equal, to V."""
    if len(views) == 2:
        return fused.nuclear_norms_of_pairs(*views).mean()
    return fused.nuclear_norms(torch.stack(list(views), dim=1)).mean()


def terms(views: Sequence[Float[Tensor, "n d"]], centroids: Float[Tensor, "n d"], config: Config) -> dict[str, Tensor]:
    """The loss of normalized views and of centroids, and its parts; the local one where it has a weight."""
    parts = {"centroid_norm": fused.nuclear_norms(centroids)}
    total = -parts["centroid_norm"]
    if config.local_weight:
        parts["local_norm"] = local_norm(views)
        total = total + config.local_weight * parts["local_norm"]
    return {"loss": total / len(centroids) if config.mean else total, **parts}


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Over the global batch; a sum over what centroids span, so that it grows with the batch unless it is a `mean`."""
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        views = [normalize(context.gather(z), dim=1) for z in outputs.student]
        return terms(views, mean(views), context.config)
