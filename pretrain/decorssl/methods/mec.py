"""MEC: maximum entropy coding, the coding length of embeddings by the first four terms of its Taylor series.

L = -1/(2 n l) sum over (a, b) = (1, 2), (2, 1) of tr(C - C^2/2 + C^3/3 - C^4/4), C = l T_a Q_b^T, with T the teacher's
embeddings and Q what a predictor makes of the student's, rows of length 1, and l = d / (n distortion) after a warm-up.

Liu et al., *Self-Supervised Learning via Maximum Entropy Coding*, arXiv 2210.11464. Source: docs/methods.md#mec
(ran the authors' code).
"""

from itertools import permutations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from decorssl import traces
from decorssl.fused.units import unit_vectors
from decorssl.heads import predictor
from decorssl.methods import Context, Outputs, any_batch, every_view_twice
from transferbench.optim import cosine
from transferbench.settings import Settings


class Config(Settings):
    """MEC's settings, the published ones."""

    distortion: float = Field(64.0, gt=0, description="square of the largest expected decoding error")
    warmup_factor: float = Field(8.0, ge=1, description="1 / lambda begins at so many times its value")
    warmup_epochs: int = Field(10, ge=0, description="epochs in which 1 / lambda falls to its value, along a line")
    predictor_hidden: int = Field(512, ge=1, description="hidden channels of the predictor")
    momentum: float = Field(0.996, ge=0, le=1, description="initial momentum; rises to 1 along half a cosine, by step")


routes = every_view_twice
check = any_batch


def modules(dim: int, config: Config) -> nn.ModuleDict:
    """The predictor, without bias in front of its normalization."""
    return nn.ModuleDict({"predictor": predictor(dim, config.predictor_hidden, bias=False)})


def momentum(context: Context) -> float:
    """1 - (1 - m0) (cos(pi progress) + 1) / 2 by step."""
    config: Config = context.config
    return 1 - (1 - config.momentum) * cosine(context.step, context.total_steps)


def inverse_lambda(n: int, d: int, context: Context) -> float:
    """1 / lambda for a global batch and an embedding: larger in the warm-up, so that the Taylor series converges."""
    config: Config = context.config
    last = config.warmup_epochs * context.total_steps // context.epochs - 1
    left = max(0.0, 1 - context.step / last) if last > 0 else 0.0
    return (1 + (config.warmup_factor - 1) * left) * n * config.distortion / d


def coding_length(taught: Float[Tensor, "n d"], predicted: Float[Tensor, "n d"], scale: float) -> Float[Tensor, ""]:
    """tr(C - C^2/2 + C^3/3 - C^4/4), four terms of log det(I + C), C = `scale` T Q^T or, smaller, T^T Q."""
    powers = traces.powers(scale * traces.product(taught, predicted))
    return powers[0] - powers[1] / 2 + powers[2] / 3 - powers[3] / 4


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Less the mean coding length over ordered pairs of views, per sample and over lambda, of the global batch."""
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        predicted = [unit_vectors(context.gather(context.modules["predictor"](z))) for z in outputs.student]
        taught = [unit_vectors(context.gather(z)) for z in outputs.teacher]
        n, d = taught[0].shape
        inverse = inverse_lambda(n, d, context)
        pairs = permutations(range(len(taught)), 2)
        lengths = torch.stack([coding_length(taught[a], predicted[b], 1 / inverse) for a, b in pairs])
    return {"loss": -inverse / n * lengths.mean()}
