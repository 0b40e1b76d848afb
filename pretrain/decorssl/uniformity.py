"""How far embeddings are from uniform on the sphere, by the Wasserstein distance: a term for the loss of any method.

W2 = sqrt(|m|^2 + 1 + tr S - 2 / sqrt(d) tr S^(1/2)) is the distance between the normal distributions of mean m and
covariance S, which the normalized embeddings have, and of mean 0 and covariance I / d.

Fang et al., arXiv 2403.00642; checked against statsle/WassersteinSSL's numbers (docs/methods.md#w2-uniformity).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize

from decorssl.fused.root_traces import root_traces
from transferbench.settings import Settings


class Uniformity(Settings):
    """The weight of W2 beside a method's loss, and how it changes from epoch to epoch."""

    weight: float = Field(ge=0, description="of W2 beside the loss; published: 0.2 for BYOL, 1 for MoCo v2")
    final_weight: float | None = Field(
        None, ge=0, description="which the weight reaches by a line in the last epoch; none: it stays as it is"
    )
    eps: float = Field(0.0, ge=0, description="added to the covariance's diagonal")

    def at(self, epoch: int, epochs: int) -> float:
        """The weight in an epoch, counted from 0; in the first it is a step down the line already, as published."""
        last = self.weight if self.final_weight is None else self.final_weight
        return self.weight + (last - self.weight) * (epoch + 1) / epochs


def w2(views: Sequence[Float[Tensor, "n d"]], eps: float = 0.0) -> Float[Tensor, ""]:
    """W2 of all views' embeddings together, from 0 (uniform) to sqrt(2) (all in one point).

    S is the biased covariance plus eps I. In float64 throughout: a root turns float32's rounding of an eigenvalue near
    zero, 1e-7, into 3e-4. Where W2 is 0 to the last digit it has no gradient.
    """
    with torch.autocast(views[0].device.type, enabled=False):
        rows = normalize(torch.cat([z.double() for z in views]), dim=1)
        n, d = rows.shape
        mean = rows.mean(0)
        x = rows - mean
        spread = x.square().sum() / n + d * eps
        square = mean.square().sum() + 1 + spread - 2 / d**0.5 * root_traces(x / n**0.5, eps)
        least = torch.finfo(square.dtype).eps
        return square.clamp_min(least).sqrt().to(torch.promote_types(views[0].dtype, torch.float32))
