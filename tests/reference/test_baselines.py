"""The methods that the whitening papers compare with, against literal float64 versions of their formulas."""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.methods import Context, Outputs, batchnorm, byol, pca, plain, simclr, zca
from transferbench.errors import UserError
from transferbench.runtime import seeded

Array = np.ndarray


def context(config: Any, **changed: Any) -> Context:
    """One process at the first of one step."""
    values: dict[str, Any] = {"step": 0, "total_steps": 1, "epoch": 0, "epochs": 1, "modules": torch.nn.ModuleDict()}
    return Context(config=config, generator=torch.Generator().manual_seed(0), gather=lambda z: z, **(values | changed))


def drawn(count: int, n: int, d: int, seed: int = 0) -> list[Array]:
    return [np.random.default_rng([seed, i]).normal(size=(n, d)) + 0.3 for i in range(count)]


def tensors(arrays: list[Array]) -> tuple[Tensor, ...]:
    return tuple(map(torch.from_numpy, arrays))


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def distance(a: Array, b: Array) -> float:
    return float(np.mean([2 - 2 * cosine(x, y) for x, y in zip(a, b, strict=True)]))


def over_pairs(views: list[Array]) -> float:
    return float(np.mean([distance(a, b) for a, b in combinations(views, 2)]))


@pytest.mark.parametrize("count", [2, 3])
def test_plain_is_the_mean_distance_of_views(count: int) -> None:
    views = drawn(count, 12, 5)
    ours = plain.loss(Outputs(tensors(views)), context(plain.Config()))["loss"]
    assert ours.item() == pytest.approx(over_pairs(views), rel=1e-12)


def in_parts(transform: Callable[[Array], Array], views: list[Array], size: int) -> float:
    """Both views through the transform, sub-batch after sub-batch, in the order that generator 0 draws."""
    order = torch.randperm(len(views[0]), generator=torch.Generator().manual_seed(0)).numpy()
    cut = [order[i : i + size] for i in range(0, len(order), size)]
    return float(np.mean([over_pairs([transform(z[part]) for z in views]) for part in cut]))


def literal_batchnorm(z: Array) -> Array:
    return np.stack([(column - column.mean()) / column.std() for column in z.T], axis=1)


def literal_zca(z: Array) -> Array:
    x = np.stack([column - column.mean() for column in z.T], axis=1)
    values, vectors = np.linalg.eigh(x.T @ x / (len(x) - 1))
    root = sum(np.outer(u, u) / math.sqrt(value) for value, u in zip(values, vectors.T, strict=True))
    return np.stack([root @ row for row in x])


def literal_pca(z: Array) -> Array:
    x = np.stack([column - column.mean() for column in z.T], axis=1)
    values, vectors = np.linalg.eigh(x.T @ x / (len(x) - 1))
    return np.stack([[row @ u / math.sqrt(value) for value, u in zip(values, vectors.T, strict=True)] for row in x])


def turned(direct: Array, ours: Array) -> Array:
    """`direct` with each channel given the sign it has in `ours`: eigenvectors have none of their own."""
    return direct * np.sign((direct * ours).sum(0))


@pytest.mark.parametrize(("module", "literal"), [(batchnorm, literal_batchnorm), (zca, literal_zca)])
@pytest.mark.parametrize("count", [2, 3])
def test_transformed_sub_batches_are_the_literal_formula(module: Any, literal: Any, count: int) -> None:
    views = drawn(count, 24, 4)
    ours = module.loss(Outputs(tensors(views)), context(module.Config(w_size=12)))["loss"]
    assert ours.item() == pytest.approx(in_parts(literal, views, 12), rel=1e-10)


def test_pca_whitens_onto_principal_axes() -> None:
    from decorssl.batch_whitening import whitened

    views = drawn(2, 24, 4)
    ours = [whitened(torch.from_numpy(z)[None, None], "pca", 0.0)[0, 0].numpy() for z in views]
    expected = [turned(literal_pca(z), w) for z, w in zip(views, ours, strict=True)]
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    value = pca.loss(Outputs(tensors(views)), context(pca.Config(w_size=24)))["loss"].item()
    assert value == pytest.approx(over_pairs(expected), rel=1e-9)


def test_the_eps_of_batchnorm_is_added_to_the_biased_variance() -> None:
    (z,) = drawn(1, 16, 4)
    expected = np.stack([(column - column.mean()) / math.sqrt(column.var() + 0.1) for column in z.T], axis=1)
    ours = batchnorm.standardised(torch.from_numpy(z)[None, None], 0.1)[0, 0]
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


def test_a_constant_channel_is_left_out_by_batchnorm() -> None:
    views = [v.clone().requires_grad_() for v in tensors(drawn(2, 16, 4))]
    fixed = tuple(v * torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64) for v in views)
    value = batchnorm.loss(Outputs(fixed), context(batchnorm.Config(w_size=16)))["loss"]
    value.backward()
    without = tuple(v.detach()[:, [0, 1, 3]] for v in views)
    assert value.item() == batchnorm.loss(Outputs(without), context(batchnorm.Config(w_size=16)))["loss"].item()
    assert all(v.grad is not None and v.grad.isfinite().all() for v in views)


def literal_nt_xent(views: list[Array], temperature: float) -> float:
    losses = []
    for a, b in combinations(views, 2):
        rows = [z / np.linalg.norm(z) for z in (*a, *b)]
        n = len(a)
        for i, row in enumerate(rows):
            partner = (i + n) % (2 * n)
            others = [math.exp(row @ other / temperature) for j, other in enumerate(rows) if j != i]
            losses.append(-math.log(math.exp(row @ rows[partner] / temperature) / sum(others)))
    return float(np.mean(losses))


@pytest.mark.parametrize("count", [2, 3])
def test_simclr_is_the_literal_nt_xent(count: int) -> None:
    views = drawn(count, 9, 5)
    ours = simclr.loss(Outputs(tensors(views)), context(simclr.Config(temperature=0.3)))["loss"]
    assert ours.item() == pytest.approx(literal_nt_xent(views, 0.3), rel=1e-12)


def literal_predictor(network: torch.nn.Sequential, z: Array) -> Array:
    """Linear, standardise over the batch (eps 1e-5), ReLU, Linear: one row and channel at a time."""
    first, norm, _, last = (dict(layer.named_parameters()) for layer in network)
    first, norm, last = ({k: v.detach().double().numpy() for k, v in part.items()} for part in (first, norm, last))
    hidden = np.stack([first["weight"] @ row + first.get("bias", 0) for row in z])
    columns = [(h - h.mean()) / math.sqrt(h.var() + 1e-5) for h in hidden.T]
    shifted = np.stack([c * w + b for c, w, b in zip(columns, norm["weight"], norm["bias"], strict=True)], axis=1)
    return np.stack([last["weight"] @ np.maximum(row, 0) + last["bias"] for row in shifted])


@pytest.mark.parametrize("count", [2, 3])
def test_byol_is_the_literal_formula(count: int) -> None:
    config = byol.Config(predictor_hidden=7)
    with seeded(3):
        modules = byol.modules(5, config).double()
    online, target = drawn(count, 10, 5), drawn(count, 10, 5, seed=1)
    predicted = [literal_predictor(modules["predictor"], z) for z in online]
    pairs = list(combinations(range(count), 2))
    expected = sum(distance(predicted[i], target[j]) + distance(predicted[j], target[i]) for i, j in pairs) / len(pairs)
    outputs = Outputs(tensors(online), tensors(target))
    ours = byol.loss(outputs, context(config, modules=modules))["loss"]
    assert ours.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("per", "expected"), [("epoch", 1 - 0.01 * 0.75), ("step", 1 - 0.01 * 0.5)])
def test_byol_momentum_rises_along_half_a_cosine(per: str, expected: float) -> None:
    at = context(byol.Config(momentum_per=per), step=50, total_steps=100, epoch=1, epochs=3)
    assert byol.momentum(at) == pytest.approx(expected)
    assert byol.momentum(context(byol.Config(momentum_per=per))) == pytest.approx(0.99)


def test_sub_batches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="better 64"):
        zca.check(zca.Config(w_size=32), 64, 32)
    zca.check(zca.Config(w_size=32, eps=0.1), 64, 32)
    with pytest.raises(UserError, match="w_size=32"):
        pca.check(pca.Config(w_size=32, eps=0.1), 64, 32)
    with pytest.raises(UserError, match="w_size=48"):
        batchnorm.check(batchnorm.Config(w_size=48), 64, 32)
    batchnorm.check(batchnorm.Config(w_size=32), 64, 64)


def test_byol_asks_every_view_of_every_other() -> None:
    routes = byol.routes(byol.Config(), 3)
    assert routes.student == routes.teacher == (0, 1, 2)
