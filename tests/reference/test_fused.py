"""Losses with a derivative of their own against the plain formulas they stand for, which autograd differentiates."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import pytest
import torch
from torch import Tensor

from decorssl.fused import barlow_twins as fused_barlow_twins
from decorssl.fused import intl as fused_intl
from decorssl.fused import vicreg as fused_vicreg
from decorssl.fused.centered import centered_samples
from decorssl.fused.cosines import paired_cosines
from decorssl.fused.grams import compared_grams, gram
from decorssl.fused.newton import four_steps
from decorssl.methods import barlow_twins, intl, vicreg
from decorssl.whiten import newton_inverse_root, newton_steps, observed

Formula = Callable[..., Sequence[Tensor]]


def plain_intl(*views: Tensor) -> Sequence[Tensor]:
    return intl.plain_terms(views, intl.Config())


def plain_cosines(*views: Tensor) -> Sequence[Tensor]:
    return [torch.stack([torch.cosine_similarity(a, b, dim=-1) for a, b in combinations(views, 2)]).sum(0)]


def plain_grams(*views: Tensor) -> Sequence[Tensor]:
    rows = [z - z.mean(1, keepdim=True) for z in views]
    return [*(x @ x.T for x in rows), *(x @ rows[0].T for x in rows[1:])]


def of_covariance(steps: Callable[[Tensor], Tensor]) -> Formula:
    return lambda *views: [steps(z @ z.T / (z @ z.T).trace()) for z in views]


PAIRS: dict[str, tuple[Formula, Formula]] = {
    "barlow_twins": (lambda a, b: barlow_twins.terms(a, b, 1e-5), lambda a, b: fused_barlow_twins.terms(a, b, 1e-5)),
    "vicreg": (
        lambda *views: [x for z in views for x in vicreg.moments(z)],
        lambda *views: [x for z in views for x in fused_vicreg.moments(z)],
    ),
    "intl": (plain_intl, lambda *views: fused_intl.terms(views, partial(newton_inverse_root, iterations=4))),
    "centered": (lambda *views: [observed(z, "samples") for z in views], lambda *views: list(centered_samples(views))),
    "cosines": (plain_cosines, lambda *views: [paired_cosines(torch.stack(views))]),
    "gram": (lambda *views: [z @ z.T for z in views], lambda *views: [gram(z) for z in views]),
    "compared grams": (plain_grams, lambda *views: [x for part in compared_grams(views) for x in part]),
    "newton": (of_covariance(partial(newton_steps, iterations=4)), of_covariance(four_steps)),
}
"""The formula, and what is computed."""


@pytest.mark.parametrize("shape", [(6, 15), (15, 6)])
@pytest.mark.parametrize("name", PAIRS)
def test_value_and_gradients_are_those_of_the_formula(name: str, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2)]
    plain, fused = ([torch.as_tensor(x) for x in formula(*views)] for formula in PAIRS[name])
    weights = [torch.randn(x.shape, dtype=torch.float64, generator=generator) for x in plain]
    slopes = [
        torch.autograd.grad([(x * w).sum() for x, w in zip(terms, weights, strict=True)], views)
        for terms in (plain, fused)
    ]
    for expected, found in zip([*plain, *slopes[0]], [*fused, *slopes[1]], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
