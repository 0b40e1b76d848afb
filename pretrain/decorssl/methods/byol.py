"""BYOL: a predictor maps each view to the momentum network's embedding of the others.

L = mean over pairs of views of l(q(Z_a), T_b) + l(q(Z_b), T_a), with q the predictor, T_v the teacher's embeddings and
l(A, B) = 2 - 2/n sum_i cos(a_i, b_i).

Grill et al., *Bootstrap Your Own Latent*, arXiv 2006.07733. Source: docs/methods.md#byol.
"""

from itertools import permutations
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from decorssl.heads import predictor
from decorssl.methods import Context, Outputs, any_batch, every_view_twice
from decorssl.pairs import normalized_mse
from transferbench.optim import cosine
from transferbench.settings import Settings


class Config(Settings):
    """BYOL's settings; the momentum is CW-RGP's (the paper: 0.996, rising with every step)."""

    predictor_hidden: int = Field(4096, ge=1, description="hidden channels of the predictor")
    momentum: float = Field(0.99, ge=0, le=1, description="initial momentum; rises to 1 along half a cosine")
    momentum_per: Literal["epoch", "step"] = Field("epoch", description="how often the momentum rises")


routes = every_view_twice
check = any_batch


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """The predictor."""
    return nn.ModuleDict({"predictor": predictor(dim, config.predictor_hidden)})


def momentum(context: Context) -> float:
    """1 - (1 - m0) (cos(pi progress) + 1) / 2."""
    config: Config = context.config
    by_step = config.momentum_per == "step"
    done, total = (context.step, context.total_steps) if by_step else (context.epoch, context.epochs)
    return 1 - (1 - config.momentum) * cosine(done, total)


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Sum of both directions' normalized MSE, averaged over pairs of views and the global batch."""
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        predicted = [context.gather(context.modules["predictor"](z)) for z in outputs.student]
        targets = [context.gather(z) for z in outputs.teacher]
        ordered = [normalized_mse(predicted[i], targets[j]) for i, j in permutations(range(len(targets)), 2)]
        return {"loss": 2 * torch.stack(ordered).mean()}
