"""The transformations that the papers compare, against literal float64 versions of their formulas."""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decorssl.methods import Context, Outputs, batchnorm, intl, pca, plain, st, zca, zero_icl
from transferbench.errors import UserError

Array = np.ndarray
Build = Callable[..., Context]


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
def test_plain_is_the_mean_distance_of_views(count: int, context: Build) -> None:
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
def test_transformed_sub_batches_are_the_literal_formula(module: Any, literal: Any, count: int, context: Build) -> None:
    views = drawn(count, 24, 4)
    ours = module.loss(Outputs(tensors(views)), context(module.Config(w_size=12)))["loss"]
    assert ours.item() == pytest.approx(in_parts(literal, views, 12), rel=1e-10)


def test_pca_whitens_onto_principal_axes(context: Build) -> None:
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
    ours = batchnorm.standardized(torch.from_numpy(z)[None, None], 0.1)[0, 0]
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


def test_a_constant_channel_is_left_out_by_batchnorm(context: Build) -> None:
    views = [v.clone().requires_grad_() for v in tensors(drawn(2, 16, 4))]
    fixed = tuple(v * torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64) for v in views)
    value = batchnorm.loss(Outputs(fixed), context(batchnorm.Config(w_size=16)))["loss"]
    value.backward()
    without = tuple(v.detach()[:, [0, 1, 3]] for v in views)
    assert value.item() == batchnorm.loss(Outputs(without), context(batchnorm.Config(w_size=16)))["loss"].item()
    assert all(v.grad is not None and v.grad.isfinite().all() for v in views)


def test_sub_batches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="better 64"):
        zca.check(zca.Config(w_size=32), 64, 32)
    zca.check(zca.Config(w_size=32, eps=0.1), 64, 32)
    with pytest.raises(UserError, match="w_size=32"):
        pca.check(pca.Config(w_size=32, eps=0.1), 64, 32)
    with pytest.raises(UserError, match="w_size=48"):
        batchnorm.check(batchnorm.Config(w_size=48), 64, 32)
    batchnorm.check(batchnorm.Config(w_size=32), 64, 64)


def literal_g(transform: str, eigenvalues: Array) -> Array:
    """The table of docs/methods.md#st."""
    if transform == "identity":
        return np.ones_like(eigenvalues)
    if transform != "iternorm":
        return eigenvalues ** -(0.4 if transform == "power" else 0.5)
    trace, f = eigenvalues.sum(), np.ones_like(eigenvalues)
    for _ in range(3):
        f = 1.5 * f - 0.5 * eigenvalues / trace * f**3
    return f / math.sqrt(trace)


def literal_st(views: list[Array], transform: str, between: str, weight: float) -> float:
    """INTL's loss of any transformation: views through U g(Lambda) U^T, all against the first, plus variances."""
    out, traces = [], []
    for z in views:
        x = np.stack([row - row.mean() for row in (z if between == "samples" else z.T)])
        values, vectors = np.linalg.eigh(x @ x.T / (x.shape[1] - 1))
        phi = sum(g * np.outer(u, u) for g, u in zip(literal_g(transform, values), vectors.T, strict=True))
        y = phi @ x
        traces.append(sum((np.var(row, ddof=1) - 1) ** 2 for row in y))
        out.append(y if between == "samples" else y.T)
    terms = [distance(out[i], out[0]) + weight * (traces[i] + traces[0]) for i in range(1, len(views))]
    return float(np.mean(terms))


@pytest.mark.parametrize("transform", ["power", "whitening", "iternorm", "identity"])
@pytest.mark.parametrize(("between", "shape"), [("samples", (8, 20)), ("channels", (20, 8))])
@pytest.mark.parametrize("count", [2, 3])
def test_st_is_the_literal_formula(
    transform: str, between: str, shape: tuple[int, int], count: int, context: Build
) -> None:
    views = drawn(count, *shape)
    config = st.Config(transform=transform, power=0.4, iterations=3, covariance_between=between, trace_weight=0.07)
    ours = st.loss(Outputs(tensors(views)), context(config))["loss"]
    assert ours.item() == pytest.approx(literal_st(views, transform, between, 0.07), rel=1e-10)


def gradients(module: Any, views: list[Array], at: Context) -> tuple[float, list[Tensor]]:
    leaves = [z.requires_grad_() for z in tensors([z.copy() for z in views])]
    value = module.loss(Outputs(tuple(leaves)), at)["loss"]
    return value.item(), list(torch.autograd.grad(value, leaves))


@pytest.mark.parametrize("between", ["samples", "channels"])
def test_intl_is_st_with_iternorm_and_the_trace_loss(between: str, context: Build) -> None:
    views = drawn(3, 12, 16)
    same = {"iterations": 4, "covariance_between": between}
    value, expected = gradients(intl, views, context(intl.Config(trade_off=0.05, **same)))
    ours, got = gradients(st, views, context(st.Config(transform="iternorm", trace_weight=0.05, **same)))
    assert ours == pytest.approx(value, rel=1e-10)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("settings", [{"transform": "power", "power": 0.5}, {"transform": "whitening"}])
def test_zca_of_the_whole_batch_is_st_with_the_inverse_root(settings: dict[str, Any], context: Build) -> None:
    views = drawn(2, 24, 6)
    value, expected = gradients(zca, views, context(zca.Config(w_size=24)))
    ours, got = gradients(st, views, context(st.Config(covariance_between="channels", **settings)))
    assert ours == pytest.approx(value, rel=1e-10)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("transform", ["power", "whitening", "iternorm"])
def test_st_gradcheck(transform: str, context: Build) -> None:
    at = context(st.Config(transform=transform, power=0.45, trace_weight=0.05))
    views = tuple(z.requires_grad_() for z in tensors(drawn(2, 3, 5)))
    assert torch.autograd.gradcheck(lambda *v: st.loss(Outputs(v), at)["loss"], views)


def test_st_refuses_samples_that_cannot_be_whitened() -> None:
    with pytest.raises(UserError, match="32 channels cannot whiten 32 samples"):
        st.check(st.Config(), 32, 32)
    st.check(st.Config(), 31, 32)
    st.check(st.Config(covariance_between="channels"), 32, 32)
    st.check(st.Config(transform="iternorm"), 32, 32)


def literal_zero_icl(views: list[Array]) -> tuple[float, list[Array]]:
    """(loss, roots): docs/methods.md#zero-icl, one sample and eigenvector at a time."""
    out, roots = [], []
    for z in views:
        rows = np.stack([(row - row.mean()) / row.std(ddof=1) for row in z])
        n, d = rows.shape
        values, vectors = np.linalg.eigh(0.9 * rows @ rows.T / (d - 1) + 0.1 * np.eye(n))
        roots.append(sum(np.outer(u, u) / math.sqrt(s + 1e-5) for s, u in zip(values, vectors.T, strict=True)))
        out.append(roots[-1] @ rows)
    return sum((a @ b / len(a) - 1) ** 2 for a, b in zip(*out, strict=True)), roots


def test_zero_icl_is_the_literal_formula(context: Build) -> None:
    views = drawn(2, 10, 7)
    value, got = gradients(zero_icl, views, context(zero_icl.Config()))
    expected, roots = literal_zero_icl(views)
    assert value == pytest.approx(expected, rel=1e-10)
    leaves = [z.requires_grad_() for z in tensors(views)]
    rows = [(z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True) for z in leaves]
    a, b = (torch.from_numpy(root) @ row for root, row in zip(roots, rows, strict=True))
    fixed = ((a * b).sum(1) / a.shape[1] - 1).square().sum()
    for ours, literal in zip(got, torch.autograd.grad(fixed, leaves), strict=True):
        torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-12)
