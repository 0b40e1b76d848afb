"""Losses with a derivative of their own against the plain formulas they stand for, which autograd differentiates."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from decorssl.fused import barlow_twins as fused_barlow_twins
from decorssl.fused import corinfomax as fused_corinfomax
from decorssl.fused import intl as fused_intl
from decorssl.fused import vicreg as fused_vicreg
from decorssl.fused.centered import centered_samples
from decorssl.fused.coding_rate import coding_rate as fused_coding_rate
from decorssl.fused.cosines import paired_cosines
from decorssl.fused.epps_pulley import mean_statistic
from decorssl.fused.grams import compared_grams, gram, gram_squares
from decorssl.fused.newton import four_steps
from decorssl.fused.root_traces import nuclear_norms, nuclear_norms_of_pairs
from decorssl.fused.sliced_wasserstein import mean_distance
from decorssl.fused.units import unit_vectors
from decorssl.methods import barlow_twins, corinfomax, emp_ssl, intl, lejepa, mmcr, vicreg, visreg
from decorssl.whiten import newton_inverse_root, newton_steps, observed

Formula = Callable[..., Sequence[Tensor]]


def plain_intl(*views: Tensor) -> Sequence[Tensor]:
    return intl.plain_terms(views, intl.Config())


def plain_cosines(*views: Tensor) -> Sequence[Tensor]:
    return [torch.stack([torch.cosine_similarity(a, b, dim=-1) for a, b in combinations(views, 2)]).sum(0)]


def plain_grams(*views: Tensor) -> Sequence[Tensor]:
    rows = [z - z.mean(1, keepdim=True) for z in views]
    return [*(x @ x.T for x in rows), *(x @ rows[0].T for x in rows[1:])]


REMEMBERING = corinfomax.Config(covariance_memory=0.3, mean_memory=0.6, eps=1e-3)


def past(dim: int) -> tuple[Tensor, Tensor]:
    """A mean and a covariance from before."""
    return torch.full((dim,), 0.2).double(), 2 * torch.eye(dim).double()


def plain_corinfomax(*views: Tensor) -> Sequence[Tensor]:
    dim = views[0].shape[1]
    covariances = [corinfomax.updated(z, *past(dim), REMEMBERING)[1] for z in views]
    return [torch.logdet(each + REMEMBERING.eps * torch.eye(dim).double()) for each in covariances]


def sooner_corinfomax(*views: Tensor) -> Sequence[Tensor]:
    of = corinfomax.memories(REMEMBERING)
    return [fused_corinfomax.log_determinant(z, *past(z.shape[1]), of, REMEMBERING.eps) for z in views]


def of_covariance(steps: Callable[[Tensor], Tensor]) -> Formula:
    return lambda *views: [steps(z @ z.T / (z @ z.T).trace()) for z in views]


def along(*views: Tensor) -> Tensor:
    """Directions for these embeddings."""
    rows = torch.randn(7, views[0].shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return rows / rows.norm(dim=1, keepdim=True)


def epps_pulley(*views: Tensor) -> Sequence[Tensor]:
    settings = lejepa.Config()
    knots = (settings.knots, settings.max_frequency)
    return [mean_statistic(torch.stack(views), along(*views).split(3), *knots, lambda rows: rows)]


def sliced_wasserstein(*views: Tensor) -> Sequence[Tensor]:
    samples = torch.stack(views)
    return [mean_distance(samples, along(*views).split(3), visreg.quantiles(samples))]


PAIRS: dict[str, tuple[Formula, Formula]] = {
    "barlow_twins": (lambda a, b: barlow_twins.terms(a, b, 1e-5), lambda a, b: fused_barlow_twins.terms(a, b, 1e-5)),
    "coding rate": (
        lambda *views: [emp_ssl.coding_rate(torch.stack(views), 0.7)],
        lambda *views: [fused_coding_rate(torch.stack(views), 0.7)],
    ),
    "corinfomax": (plain_corinfomax, sooner_corinfomax),
    "vicreg": (
        lambda *views: [x for z in views for x in vicreg.moments(z)],
        lambda *views: [x for z in views for x in fused_vicreg.moments(z)],
    ),
    "intl": (plain_intl, lambda *views: fused_intl.terms(views, partial(newton_inverse_root, iterations=4))),
    "centered": (lambda *views: [observed(z, "samples") for z in views], lambda *views: list(centered_samples(views))),
    "cosines": (plain_cosines, lambda *views: [paired_cosines(torch.stack(views))]),
    "gram": (lambda *views: [z @ z.T for z in views], lambda *views: [gram(z) for z in views]),
    "gram squares": (
        lambda *views: [(z.T @ z).square().sum() for z in views],
        lambda *views: [gram_squares(z) for z in views],
    ),
    "units": (
        lambda *views: [normalize(z, dim=dim) for z in views for dim in (0, 1)],
        lambda *views: [unit_vectors(z, dim) for z in views for dim in (0, 1)],
    ),
    "compared grams": (plain_grams, lambda *views: [x for part in compared_grams(views) for x in part]),
    "epps pulley": (lambda *views: [lejepa.sigreg(torch.stack(views), along(*views), lejepa.Config())], epps_pulley),
    "sliced wasserstein": (lambda *views: [visreg.shape(torch.stack(views), along(*views))], sliced_wasserstein),
    "nuclear norms": (
        lambda *views: [mmcr.nuclear_norms(z) for z in (*views, torch.stack(views, dim=1))],
        lambda *views: [nuclear_norms(z) for z in (*views, torch.stack(views, dim=1))],
    ),
    "nuclear norms of pairs": (
        lambda *views: [mmcr.nuclear_norms(torch.stack([normalize(z, dim=1) for z in views], dim=1))],
        lambda *views: [nuclear_norms_of_pairs(*(normalize(z, dim=1) for z in views))],
    ),
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


def test_a_row_of_zeros_stays_one() -> None:
    z = torch.zeros(2, 3).requires_grad_()
    assert torch.equal(unit_vectors(z), z)


def test_estimates_are_those_of_the_formula() -> None:
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    _, *found = fused_corinfomax.updated(z, *past(5), corinfomax.memories(REMEMBERING))
    for ours, expected in zip(found, corinfomax.updated(z, *past(5), REMEMBERING), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)
