"""Matrix-SSL: matrix cross-entropies that align the views' cross-covariance and make covariances uniform.

L = 1/2 sum over (a, b) = (1, 2), (2, 1) of l H(I, T_a^T Q_b / n) + g H(T_a^T T_a / n + mu I, Q_b^T Q_b / n), with
H(P, S) = -tr(P log_4(S + mu I)), log_4(I + E) = E - E^2/2 + E^3/3 - E^4/4, T the teacher's embeddings and Q what a
predictor makes of the student's, rows scaled to length 1 and then channels centered.

Zhang et al., *Matrix Information Theory for Self-Supervised Learning*, arXiv 2305.17326. Source:
docs/methods.md#matrix-ssl (ran the authors' code).
"""

from collections.abc import Sequence
from itertools import permutations
from math import comb

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from decorssl import traces
from decorssl.fused.grams import gram
from decorssl.fused.units import unit_vectors
from decorssl.heads import predictor
from decorssl.methods import Context, Outputs, any_batch, every_view_twice
from transferbench.optim import cosine
from transferbench.settings import Settings


class Config(Settings):
    """Matrix-SSL's settings, those of the README's command (the script's own defaults: 0.5 for the first two)."""

    mu: float = Field(1.0, ge=0, description="how much of the identity is added to covariances")
    alignment_weight: float = Field(1.0, ge=0, description="weight of the alignment of views")
    uniformity_weight: float = Field(1.0, ge=0, description="weight of the uniformity of covariances")
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


def log_coefficients(mu: float) -> list[float]:
    """c_0 ... c_4 of log_4(S + mu I) = sum_j c_j S^j, by the binomials of (S + (mu - 1) I)^k."""
    return [sum((-1) ** (k + 1) / k * comb(k, j) * (mu - 1) ** (k - j) for k in range(max(1, j), 5)) for j in range(5)]


def observed(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """X with X^T X the covariance between channels of rows of length 1."""
    unit = unit_vectors(z)
    return (unit - unit.mean(0)) / len(z) ** 0.5


def weighted(coefficients: Sequence[float], powers: traces.Scalars) -> Float[Tensor, ""]:
    """c_1 t_1 + ... + c_4 t_4."""
    return torch.stack([c * t for c, t in zip(coefficients[1:], powers, strict=True)]).sum()


def entropies(
    taught: Float[Tensor, "n d"], predicted: Float[Tensor, "n d"], mu: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """H(I, T^T Q) and H(T^T T + mu I, Q^T Q) of observed embeddings, from matrices of the smaller side.

    With K = Q Q^T, and W = (Q T^T)(Q T^T)^T, traces of (T^T T)(Q^T Q)^j are those of W K^(j-1); where there are fewer
    channels K = Q^T Q and W = (T^T T) K have the same.
    """
    n, d = taught.shape
    cross = traces.product(predicted, taught)
    own = gram(predicted if n <= d else predicted.T)
    joint = gram(cross) if n <= d else gram(taught.T) @ own
    c = log_coefficients(mu)
    alignment = d * c[0] + weighted(c, traces.powers(cross))
    square, product = gram(own), joint @ own
    alone = own.trace(), square.trace(), (square * own).sum(), square.square().sum()
    both = joint.trace(), (joint * own).sum(), (joint * square).sum(), (product * square).sum()
    constant = c[0] * (taught.square().sum() + mu * d)
    return -alignment, -(constant + weighted(c, both) + mu * weighted(c, alone))


def loss(outputs: Outputs, context: Context) -> dict[str, Tensor]:
    """Weighted matrix cross-entropies, averaged over ordered pairs of views, of the global batch."""
    config: Config = context.config
    with torch.autocast(outputs.student[0].device.type, enabled=False):
        predicted = [observed(context.gather(context.modules["predictor"](z))) for z in outputs.student]
        taught = [observed(context.gather(z)) for z in outputs.teacher]
        pairs = permutations(range(len(taught)), 2)
        terms = [torch.stack(entropies(taught[a], predicted[b], config.mu)) for a, b in pairs]
        alignment, uniformity = torch.stack(terms).mean(0)
    total = config.alignment_weight * alignment + config.uniformity_weight * uniformity
    return {"loss": total, "alignment": alignment, "uniformity": uniformity}
