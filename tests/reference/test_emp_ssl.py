"""EMP-SSL against the authors' numbers, the literal formula, finite differences, and float64 near a collapse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from decorssl.fused.coding_rate import coding_rate
from decorssl.methods import Context, Outputs, emp_ssl

GOLDEN = Path(__file__).parent / "golden"
INDEX: dict[str, Any] = json.loads((GOLDEN / "index_emp_ssl.json").read_text())
Array = npt.NDArray[np.float64]
Build = Callable[..., Context]


def drawn(count: int, n: int, d: int) -> list[Array]:
    """Correlated views of lengths that differ."""
    rng = np.random.default_rng(count)
    image = rng.standard_normal((n, d))
    return [(1 + i) * (image + 0.5 * rng.standard_normal((n, d))) for i in range(count)]


def leaves(views: list[Array]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(view).requires_grad_() for view in views)


@pytest.mark.parametrize("name", INDEX)
def test_loss_terms_and_gradients_are_those_of_the_authors_code(name: str, context: Build) -> None:
    arrays, told = np.load(GOLDEN / f"{name}.npz"), INDEX[name]
    views = leaves([arrays[key] for key in arrays.files if key.startswith("view")])
    terms = emp_ssl.loss(Outputs(views), context(emp_ssl.Config(**told["settings"])))
    for key in ("loss", "invariance", "coding_rate"):
        assert terms[key].item() == pytest.approx(told[key], rel=1e-12)
    for i, slope in enumerate(torch.autograd.grad(terms["loss"], views)):
        expected = torch.from_numpy(arrays[f"grad{i}"])
        assert (slope - expected).norm() <= 1e-9 * expected.norm()


def literal(views: list[Array], config: emp_ssl.Config) -> float:
    """Element by element."""
    n, d = views[0].shape
    units = [np.array([row / np.sqrt(sum(x * x for x in row)) for row in view]) for view in views]
    cosines, rates = [], []
    for view in units:
        for i in range(n):
            mean = sum(each[i] for each in units) / len(units)
            cosines.append(sum(view[i] * mean) / np.sqrt(sum(mean * mean)))
        matrix = np.empty((d, d))
        for j in range(d):
            for k in range(d):
                matrix[j, k] = (j == k) + d / (n * config.eps) * sum(view[:, j] * view[:, k])
        rates.append(np.log(np.linalg.eigvalsh(matrix)).sum() / 2)
    return float(-config.invariance_weight * np.mean(cosines) - config.rate_weight * np.mean(rates))


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
@pytest.mark.parametrize("count", [2, 4])
def test_the_loss_is_the_literal_formula(count: int, shape: tuple[int, int], context: Build) -> None:
    config = emp_ssl.Config(invariance_weight=7.0, rate_weight=2.0, eps=0.3)
    views = drawn(count, *shape)
    found = emp_ssl.loss(Outputs(leaves(views)), context(config))["loss"]
    assert found.item() == pytest.approx(literal(views, config), rel=1e-12)


def test_the_defaults_are_the_published_ones() -> None:
    assert emp_ssl.Config().model_dump() == {"invariance_weight": 200.0, "rate_weight": 1.0, "eps": 0.2}


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_the_gradient_is_that_of_finite_differences(shape: tuple[int, int]) -> None:
    z = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: coding_rate(z, 0.7), z)


def near_a_point() -> Tensor:
    """Unit rows 1 % apart, whose largest eigenvalue is 1e5 times the smallest with d / eps = 1e5."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1, 1024, generator=generator) + 0.01 * torch.randn(64, 1024, generator=generator)
    return torch.nn.functional.normalize(rows, dim=1)


@pytest.mark.parametrize("turned", [False, True])
def test_float32_embeddings_near_a_collapse_have_the_gradient_of_float64(turned: bool) -> None:
    slopes = []
    for dtype in (torch.float32, torch.float64):
        z = (near_a_point().T if turned else near_a_point()).to(dtype).unsqueeze(0).requires_grad_()
        slopes.append(torch.autograd.grad(coding_rate(z, 1024 / (64 * 0.01)).sum(), z)[0].double())
    assert (slopes[0] - slopes[1]).norm() <= 1e-6 * slopes[1].norm()


def test_minimizing_the_loss_moves_embeddings_apart(context: Build) -> None:
    z = near_a_point()[:8, :32].clone().requires_grad_()
    for _ in range(5):
        (slope,) = torch.autograd.grad(emp_ssl.loss(Outputs((z, z)), context(emp_ssl.Config()))["loss"], z)
        z = (z - 0.1 * slope).detach().requires_grad_()
    rows = torch.nn.functional.normalize(z.detach(), dim=1)
    assert (rows @ rows.T).mean() < 0.5


def test_embeddings_that_are_not_finite_give_a_loss_that_is_not(context: Build) -> None:
    z = torch.ones(4, 3)
    z[2, 1] = torch.nan
    assert emp_ssl.loss(Outputs((z, z)), context(emp_ssl.Config()))["loss"].isnan()
