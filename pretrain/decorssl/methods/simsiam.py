"""SimSiam: a predictor maps each view to the other view's embedding, under a stop-gradient.

L = - (cos(q(Z_1), Z_2) + cos(q(Z_2), Z_1)) / 2, mean over the batch, q the predictor.

Chen and He, *Exploring Simple Siamese Representation Learning*, arXiv 2011.10566. Source:
docs/methods.md#simsiam.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from decorssl.heads import predictor
from decorssl.methods import Context, Outputs, any_batch, two_views
from transferbench.settings import Settings


class Config(Settings):
    """SimSiam's settings."""

    predictor_hidden: int = Field(512, ge=1, description="a quarter of the paper's embedding of 2048")


routes = two_views
check = any_batch


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """The predictor, a bottleneck without bias in front of its normalization."""
    return nn.ModuleDict({"predictor": predictor(dim, config.predictor_hidden, bias=False)})


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """-(cos(p_0, z_1) + cos(p_1, z_0)) / 2 over the global batch, z without gradient."""
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        predicted = [context.gather(context.modules["predictor"](z)) for z in outputs.student]
        first, second = (context.gather(z.detach()) for z in outputs.student)
        cosines = cosine_similarity(predicted[0], second) + cosine_similarity(predicted[1], first)
        return {"loss": -cosines.mean() / 2}
