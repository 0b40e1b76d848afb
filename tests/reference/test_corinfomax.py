"""CorInfoMax against the authors' numbers over several steps, the literal formula and finite differences."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from decorssl.fused.corinfomax import log_determinant
from decorssl.methods import Context, Outputs, corinfomax

GOLDEN = Path(__file__).parent / "golden"
INDEX: dict[str, Any] = json.loads((GOLDEN / "index_corinfomax.json").read_text())
Array = npt.NDArray[np.float64]
Build = Callable[..., Context]


def leaves(*views: Array) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(view).requires_grad_() for view in views)


def drawn(n: int, d: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(n)
    image = rng.standard_normal((n, d))
    return image + 0.5 * rng.standard_normal((n, d)), 3 * image + rng.standard_normal((n, d))


@pytest.mark.parametrize("name", INDEX)
def test_losses_gradients_and_estimates_are_those_of_the_authors_code(name: str, context: Build) -> None:
    arrays, told = np.load(GOLDEN / f"{name}.npz"), INDEX[name]
    config = corinfomax.Config(**told["settings"])
    modules = corinfomax.modules(arrays["covariances"].shape[-1], config)
    for step, expected in enumerate(told["losses"]):
        outputs = Outputs(leaves(*(arrays[f"step{step}_view{i}"] for i in (0, 1))))
        value = corinfomax.loss(outputs, context(config, modules))["loss"]
        assert value.item() == pytest.approx(expected, rel=1e-9)
        for i, slope in enumerate(torch.autograd.grad(value, outputs.student)):
            golden = torch.from_numpy(arrays[f"step{step}_grad{i}"])
            assert (slope - golden).norm() <= 1e-7 * golden.norm()
        with torch.no_grad():
            corinfomax.after_step(outputs, context(config, modules))
    np.testing.assert_allclose(modules["estimates"].means.numpy(), arrays["means"], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(modules["estimates"].covariances.numpy(), arrays["covariances"], rtol=1e-10, atol=1e-14)


def literal_update(rows: Array, mean: Array, covariance: Array, config: corinfomax.Config) -> tuple[Array, Array]:
    """Element by element."""
    n, d = rows.shape
    new_mean, new_covariance = np.empty(d), np.empty((d, d))
    for j in range(d):
        new_mean[j] = config.mean_memory * mean[j] + (1 - config.mean_memory) * sum(rows[:, j]) / n
    for j in range(d):
        for k in range(d):
            products = sum((row[j] - new_mean[j]) * (row[k] - new_mean[k]) for row in rows)
            past = config.covariance_memory * covariance[j, k]
            new_covariance[j, k] = past + (1 - config.covariance_memory) * products / n
    return new_mean, new_covariance


def literal(views: tuple[Array, Array], kept: list[tuple[Array, Array]], config: corinfomax.Config) -> float:
    """The loss; `kept` is replaced by the estimates that it is of."""
    n, d = views[0].shape
    units = [np.array([row / np.sqrt(sum(x * x for x in row)) for row in view]) for view in views]
    distance = sum((units[0][i, j] - units[1][i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    parts = units if config.covariance_of == "view" else [np.concatenate(units)]
    kept[:] = [literal_update(rows, *past, config) for rows, past in zip(parts, kept, strict=True)]
    spread = sum(np.log(np.linalg.eigvalsh(covariance + config.eps * np.eye(d))).sum() for _, covariance in kept)
    return float(config.invariance_weight * distance - config.covariance_weight * spread / d)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
@pytest.mark.parametrize("of", ["view", "views"])
def test_the_loss_is_the_literal_formula_before_and_after_a_step(
    of: Any, shape: tuple[int, int], context: Build
) -> None:
    config = corinfomax.Config(
        invariance_weight=7.0, covariance_weight=2.0, covariance_of=of, initial=3.0, covariance_memory=0.3,
        mean_memory=0.6, eps=1e-3,
    )  # fmt: skip
    modules, views = corinfomax.modules(shape[1], config), drawn(*shape)
    kept = [(np.zeros(shape[1]), 3.0 * np.eye(shape[1]))] * (2 if of == "view" else 1)
    for given in (views, (-views[1], views[0] + 1)):
        outputs = Outputs(leaves(*given))
        value = corinfomax.loss(outputs, context(config, modules))["loss"]
        assert value.item() == pytest.approx(literal(given, kept, config), rel=1e-12)
        with torch.no_grad():
            corinfomax.after_step(outputs, context(config, modules))


def test_a_loss_leaves_the_estimates_as_they_are(context: Build) -> None:
    config = corinfomax.Config()
    modules, outputs = corinfomax.modules(8, config), Outputs(leaves(*drawn(5, 8)))
    values = [corinfomax.loss(outputs, context(config, modules))["loss"].item() for _ in range(2)]
    assert values[0] == values[1]
    assert torch.equal(modules["estimates"].covariances, torch.eye(8, dtype=torch.float64).repeat(2, 1, 1))


@pytest.mark.parametrize("shape", [(4, 3), (3, 4)])
def test_the_gradient_is_that_of_finite_differences(shape: tuple[int, int]) -> None:
    z = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mean, covariance = torch.ones(shape[1]).double(), torch.eye(shape[1]).double()
    assert torch.autograd.gradcheck(lambda z: log_determinant(z, mean, covariance, (0.3, 0.4), 1e-2), z)


def test_channels_that_hardly_vary_keep_their_gradient_in_float32(context: Build) -> None:
    """Their variances are near eps, far below float32's rounding of the largest."""
    config, found = corinfomax.Config(), []
    modules = corinfomax.modules(8, config)
    scales = torch.tensor(4 * [1.0] + 4 * [1e-4]).double()
    views = [(torch.from_numpy(view) * scales).float() for view in drawn(24, 8)]
    with torch.no_grad():
        for _ in range(6):
            corinfomax.after_step(Outputs(tuple(views)), context(config, modules))
    assert modules["estimates"].covariances.dtype == torch.float64
    for dtype in (torch.float32, torch.float64):
        given = tuple(view.to(dtype).requires_grad_() for view in views)
        value = corinfomax.loss(Outputs(given), context(config, modules))["loss"]
        found.append([value.detach().double(), *(z.double() for z in torch.autograd.grad(value, given))])
    for single, double in zip(*found, strict=True):
        assert (single - double).norm() <= 1e-5 * double.norm()


def test_embeddings_that_are_not_finite_give_a_loss_that_is_not(context: Build) -> None:
    config, z = corinfomax.Config(), torch.ones(4, 3)
    z[2, 1] = torch.nan
    assert corinfomax.loss(Outputs((z, z)), context(config, corinfomax.modules(3, config)))["loss"].isnan()
